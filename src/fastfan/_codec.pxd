"""The C that knows a frame's bytes: scanner.h, unmask.h and utf8.h, each with its own contract."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "scanner.h" nogil:
    enum:
        SCAN_CONTINUATION, SCAN_TEXT, SCAN_BINARY, SCAN_CONTROL, SCAN_CLOSE, SCAN_PING, SCAN_PONG, SCAN_CONTROL_MAX
    enum scan:
        SCAN_FRAME, SCAN_MORE, SCAN_MALFORMED
    struct client_frame:
        uint64_t payload_bytes
        uint32_t key
        uint8_t header_bytes
        uint8_t opcode
        uint8_t fin
    scan scan_header(const uint8_t *data, size_t have, client_frame *frame)

cdef extern from "unmask.h" nogil:
    void unmask(uint8_t *out, const uint8_t *masked, size_t nbytes, uint32_t key)
    uint32_t unmask_key_at(uint32_t key, uint64_t place)

cdef extern from "utf8.h" nogil:
    enum:
        UTF8_START
    enum utf8:
        UTF8_WHOLE, UTF8_CUT, UTF8_WRONG
    utf8 utf8_check(uint8_t *state, const uint8_t *data, size_t nbytes)

cdef inline bint is_utf8(const uint8_t *data, size_t nbytes) noexcept nogil:
    """Whether all of it is text."""
    cdef uint8_t state = UTF8_START
    return utf8_check(&state, data, nbytes) == UTF8_WHOLE


cdef enum:
    PLAIN_BYTES = 1024      # unmasked at a time; a multiple of 4, so that the key stays as it is


cdef inline utf8 check_masked(uint8_t *state, const uint8_t *masked, size_t nbytes, uint32_t key) noexcept nogil:
    """utf8_check() of bytes that are masked and go nowhere."""
    cdef uint8_t plain[PLAIN_BYTES]
    cdef size_t step
    while nbytes:
        step = min(nbytes, <size_t>PLAIN_BYTES)
        unmask(plain, masked, step, key)
        if utf8_check(state, plain, step) == UTF8_WRONG:
            return UTF8_WRONG
        masked += step
        nbytes -= step
    return utf8_check(state, NULL, 0)
