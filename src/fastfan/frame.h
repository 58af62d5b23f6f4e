/* Server frames: what goes from us to a client (RFC 6455 section 5.2, never masked: section 5.1).
 *
 * Contract: the caller owns every buffer and has checked the sizes given here. Any thread.
 */
#ifndef FASTFAN_FRAME_H
#define FASTFAN_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum { FRAME_TEXT = 0x1, FRAME_BINARY = 0x2, FRAME_PING = 0x9 };

/* Two bytes, and up to eight of extended length. */
#define FRAME_HEADER_MAX 10

/* Bytes of the shortest header for a payload of this size (the only one section 5.2 allows). */
inline size_t frame_header_size(uint64_t payload_bytes) {
    return payload_bytes < 126 ? 2 : payload_bytes <= 0xFFFF ? 4 : 10;
}

/* For payloads of 126 bytes and more. */
size_t frame_write_long_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes);

/* Writes that header, FIN set; returns its size. `out` has frame_header_size() bytes. */
inline size_t frame_write_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes) {
    if (payload_bytes >= 126) return frame_write_long_header(out, opcode, payload_bytes);
    out[0] = 0x80 | opcode;
    out[1] = (uint8_t)payload_bytes;
    return 2;
}

/* Size of the whole frame that begins at `frame`, which frame_write_header() wrote. */
size_t frame_size_at(const uint8_t *frame);

#endif
