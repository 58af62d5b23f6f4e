#include "scanner.h"

#include <string.h>

enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, CONTROL_MAX = 125, KEY_BYTES = 4 };

static int is_known(uint8_t opcode) {
    return opcode <= SCAN_BINARY || (opcode >= SCAN_CONTROL && opcode <= SCAN_PONG);
}

/* Section 5.2: network byte order, and the shortest form there is. */
static int read_length(const uint8_t *data, struct client_frame *frame) {
    uint64_t length = 0;
    size_t bytes = frame->header_bytes - 2 - KEY_BYTES;
    for (size_t i = 0; i < bytes; i++) length = length << 8 | data[2 + i];
    frame->payload_bytes = length;
    return bytes == 2 ? length > CONTROL_MAX : length > UINT16_MAX && length <= INT64_MAX;
}

enum scan scan_header(const uint8_t *data, size_t have, struct client_frame *frame) {
    if (have < 2) return SCAN_MORE;
    uint8_t short_length = data[1] & LENGTH;
    frame->fin = data[0] & FIN;
    frame->opcode = data[0] & OPCODE;
    if ((data[0] & RESERVED) || !is_known(frame->opcode) || !(data[1] & MASKED)) return SCAN_MALFORMED;
    if (frame->opcode >= SCAN_CONTROL && (!frame->fin || short_length > CONTROL_MAX)) return SCAN_MALFORMED;
    frame->payload_bytes = short_length;
    frame->header_bytes = 2 + KEY_BYTES + (short_length <= CONTROL_MAX ? 0 : short_length == 126 ? 2 : 8);
    if (have < frame->header_bytes) return SCAN_MORE;
    if (short_length > CONTROL_MAX && !read_length(data, frame)) return SCAN_MALFORMED;
    memcpy(&frame->key, data + frame->header_bytes - KEY_BYTES, KEY_BYTES);
    return SCAN_FRAME;
}

void scan_unmask(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    const uint64_t mask = (uint64_t)key << 32 | key;
    uint8_t key_bytes[KEY_BYTES];
    size_t i = 0;
    memcpy(key_bytes, &key, KEY_BYTES);
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= mask;
        memcpy(out + i, &word, 8);
    }
    for (; i < bytes; i++) out[i] = in[i] ^ key_bytes[i & 3];
}
