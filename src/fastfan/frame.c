#include "frame.h"

enum { FIN = 0x80, LENGTH_16 = 126, LENGTH_64 = 127 };

/* For who asks by the name, in a build without inlining, too. */
extern inline size_t frame_header_size(uint64_t payload_bytes);
extern inline size_t frame_write_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes);

size_t frame_write_long_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes) {
    out[0] = FIN | opcode;
    if (payload_bytes <= 0xFFFF) {
        out[1] = LENGTH_16;
        out[2] = (uint8_t)(payload_bytes >> 8);
        out[3] = (uint8_t)payload_bytes;
        return 4;
    }
    out[1] = LENGTH_64;
    for (int i = 0; i < 8; i++) out[2 + i] = (uint8_t)(payload_bytes >> (56 - 8 * i));
    return 10;
}

size_t frame_size_at(const uint8_t *frame) {
    uint8_t length = frame[1];
    if (length < LENGTH_16) return 2u + length;
    if (length == LENGTH_16) return 4u + ((size_t)frame[2] << 8 | frame[3]);
    uint64_t wide = 0;
    for (int i = 0; i < 8; i++) wide = wide << 8 | frame[2 + i];
    return 10u + (size_t)wide;
}
