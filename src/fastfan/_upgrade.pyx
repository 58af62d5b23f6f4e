"""scan_upgrade: the request for a WebSocket, read in C where it has the form that nearly every client sends."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef extern from "upgrade.h" nogil:
    enum:
        UPGRADE_HEADERS_MAX
    enum upgrade_name:
        UPGRADE_HOST, UPGRADE_KEY, UPGRADE_PROTOCOL, UPGRADE_EXTENSIONS, UPGRADE_OTHER
    struct upgrade_slice:
        const uint8_t *at
        size_t bytes
    struct upgrade_header:
        upgrade_slice name
        upgrade_slice value
        upgrade_name which
    struct upgrade:
        size_t head_bytes
        upgrade_slice target
        size_t headers
        upgrade_header header[UPGRADE_HEADERS_MAX]
    bint upgrade_scan(const uint8_t *data, size_t have, size_t max_head_bytes, upgrade *found)


# Names of enum upgrade_name, so that no request makes its own.
cdef tuple NAMES = (
    b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol",
    b"sec-websocket-extensions", b"pubsub", b"pubsub-client-name", b"origin",
)


def scan_upgrade(bytes data not None, size_t max_head_bytes):
    cdef upgrade found
    cdef upgrade_header *header
    cdef size_t i
    cdef list headers = []
    cdef tuple subprotocols = ()
    cdef str host = ""
    cdef bytes key = b""
    if not upgrade_scan(<const uint8_t *>PyBytes_AS_STRING(data), <size_t>len(data), max_head_bytes, &found):
        return None
    for i in range(found.headers):
        header = &found.header[i]
        if header.which == UPGRADE_HOST:
            host = text(header.value)
        elif header.which == UPGRADE_PROTOCOL:
            subprotocols = tokens(text(header.value))
        elif header.which != UPGRADE_EXTENSIONS:
            value = raw(header.value)
            headers.append((name_of(header), value))
            if header.which == UPGRADE_KEY:
                key = value
    return text(found.target), host, key, headers, subprotocols, found.head_bytes


cdef bytes name_of(upgrade_header *header):
    return raw(header.name).lower() if header.which == UPGRADE_OTHER else <bytes>NAMES[<int>header.which]


cdef tuple tokens(str value):
    # RFC 9110 section 5.6.1: a list may have empty members, which mean nothing.
    return tuple([token for token in [member.strip() for member in value.split(",")] if token])


cdef bytes raw(upgrade_slice slice):
    return PyBytes_FromStringAndSize(<const char *>slice.at, <Py_ssize_t>slice.bytes)


cdef str text(upgrade_slice slice):
    return PyUnicode_DecodeASCII(<const char *>slice.at, <Py_ssize_t>slice.bytes, NULL)
