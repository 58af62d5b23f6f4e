/* The request for a WebSocket in the form that nearly every client sends (RFC 6455 section 4.1).
 *
 * Taken is a head that is whole and plain: GET, HTTP/1.1, CRLF; each header once that has a say here, on one line, as
 * `Name: value` in printable ASCII; no body. A head that is not so to the last byte is not refused: another reads it.
 *
 * Contract: reads `have` bytes at most and allocates nothing. What is found lies within the head, which the caller
 * keeps. Any thread, no state.
 */
#ifndef FASTFAN_UPGRADE_H
#define FASTFAN_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Browsers send 15 or so, proxies add some. */
enum { UPGRADE_HEADERS_MAX = 48 };

/* The headers with a say. Of those from UPGRADE_BODY on, and of any but UPGRADE_OTHER twice, no head is taken. */
enum upgrade_name {
    UPGRADE_HOST,
    UPGRADE_UPGRADE,
    UPGRADE_CONNECTION,
    UPGRADE_KEY,
    UPGRADE_VERSION,
    UPGRADE_PROTOCOL,
    UPGRADE_EXTENSIONS,
    UPGRADE_ROLE,
    UPGRADE_CLIENT_NAME,
    UPGRADE_ORIGIN,
    UPGRADE_OTHER,
    UPGRADE_BODY
};

struct upgrade_slice {
    const uint8_t *at;
    size_t bytes;
};

struct upgrade_header {
    struct upgrade_slice name, value;   /* the name in the case it came in; a value is never empty */
    enum upgrade_name which;
};

struct upgrade {
    size_t head_bytes;                  /* the blank line included: what follows is the client's first frames */
    struct upgrade_slice target;        /* begins with a slash */
    size_t headers;
    struct upgrade_header header[UPGRADE_HEADERS_MAX];  /* in the order they came, all of them */
};

/* Whether the head at `data` is taken, and then what is in it. Nothing in `found` counts otherwise. */
bool upgrade_scan(const uint8_t *data, size_t have, size_t max_head_bytes, struct upgrade *found);

#endif
