/* Client frames: what begins at a byte, and how its payload is unmasked (RFC 6455 sections 5.2 and 5.3).
 *
 * Contract: only what holds for a frame by itself is judged here; whether it may come now (a continuation without a
 * beginning, a message inside another) is the caller's to know. Reads `have` bytes at most. Any thread, no state.
 */
#ifndef FASTFAN_SCANNER_H
#define FASTFAN_SCANNER_H

#include <stddef.h>
#include <stdint.h>

enum { SCAN_CONTINUATION = 0x0, SCAN_TEXT = 0x1, SCAN_BINARY = 0x2, SCAN_CONTROL = 0x8, SCAN_PONG = 0xA };

enum scan {
    SCAN_FRAME,         /* a header is here, and well-formed; its payload may not be */
    SCAN_MORE,          /* the header is cut */
    SCAN_MALFORMED      /* RSV bits, opcode, no mask, a length not in its shortest form, a control frame against 5.5 */
};

struct client_frame {
    uint64_t payload_bytes;
    uint32_t key;               /* its four bytes, as they lie */
    uint8_t header_bytes;       /* key included: 6, 8 or 14 */
    uint8_t opcode;
    uint8_t fin;
};

enum scan scan_header(const uint8_t *data, size_t have, struct client_frame *frame);

/* `out` and `in` do not overlap; neither needs an alignment. */
void scan_unmask(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key);

#endif
