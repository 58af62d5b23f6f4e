/* Client frames: what begins at a byte (RFC 6455 section 5.2). The payload behind it is unmask.h's.
 *
 *     scan_header()    a header that is here    ──► SCAN_FRAME, and `frame` says what and how much
 *                      one that goes on later   ──► SCAN_MORE: call again from its first byte
 *                      none                     ──► SCAN_MALFORMED, whatever comes behind it
 *
 * Contract: only what holds for a frame by itself is judged here; whether it may come now (a continuation without a
 * beginning, a message inside another) is the caller's to know, and so is what it may be as large as. Reads `have`
 * bytes at most. `frame` holds something at SCAN_FRAME only. Any thread, no state.
 */
#ifndef FASTFAN_SCANNER_H
#define FASTFAN_SCANNER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Opcodes (section 5.2). From SCAN_CONTROL on they are control frames, which come between the fragments of a message
 * too and have at most SCAN_CONTROL_MAX bytes of payload (section 5.5). */
enum {
    SCAN_CONTINUATION = 0x0,
    SCAN_TEXT = 0x1,
    SCAN_BINARY = 0x2,
    SCAN_CONTROL = 0x8,
    SCAN_CLOSE = 0x8,
    SCAN_PING = 0x9,
    SCAN_PONG = 0xA,
    SCAN_CONTROL_MAX = 125
};

enum scan {
    SCAN_FRAME,         /* a header is here, and well-formed; its payload may not be */
    SCAN_MORE,          /* the header is cut */
    SCAN_MALFORMED      /* RSV bits, opcode, no mask, a length not in its shortest form or over 63 bits, a control frame
                           against 5.5: said as soon as the two bytes, and the length behind them, are here, as wsproto
                           says it; of an opcode, and of control frames, as soon as the two bytes are */
};

struct client_frame {
    uint64_t payload_bytes;     /* below 2^63: adding header_bytes does not overflow */
    uint32_t key;               /* its four bytes, as they lie: unmask() wants it so */
    uint8_t header_bytes;       /* key included: 6, 8 or 14 */
    uint8_t opcode;
    uint8_t fin;                /* not 0: the last fragment, or the whole message */
};

/* The same, of any header. */
enum scan scan_any_header(const uint8_t *data, size_t have, struct client_frame *frame);

/* Here, in place, for what nearly every frame is: a whole message of at most 65,535 bytes. */
inline enum scan scan_header(const uint8_t *data, size_t have, struct client_frame *frame) {
    enum { WHOLE_TEXT = 0x81, MASKED = 0x80, WIDE = 126, SHORT_BYTES = 6, WIDE_BYTES = 8 };
    if (have < WIDE_BYTES || (uint8_t)(data[0] - WHOLE_TEXT) > SCAN_BINARY - SCAN_TEXT)
        return scan_any_header(data, have, frame);
    uint8_t length = data[1] ^ MASKED;  /* over 127 where it is not masked */
    if (length <= SCAN_CONTROL_MAX) {
        frame->payload_bytes = length;
        frame->header_bytes = SHORT_BYTES;
        memcpy(&frame->key, data + 2, sizeof frame->key);
    } else {
        uint16_t wide = (uint16_t)(data[2] << 8 | data[3]);
        if (length != WIDE || wide <= SCAN_CONTROL_MAX) return scan_any_header(data, have, frame);
        frame->payload_bytes = wide;
        frame->header_bytes = WIDE_BYTES;
        memcpy(&frame->key, data + 4, sizeof frame->key);
    }
    frame->opcode = data[0] & 0x0f;
    frame->fin = 1;
    return SCAN_FRAME;
}

#endif
