#include "scanner.h"

/* For who asks by the name, in a build without inlining, too. */
extern inline enum scan scan_header(const uint8_t *data, size_t have, struct client_frame *frame);

enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, KEY_BYTES = 4 };

/* A bit for each opcode that there is: 0 to 2, and 8 to 10. */
enum { KNOWN = 7u << SCAN_CONTINUATION | 7u << SCAN_CONTROL };

/* Section 5.5: a control frame is never a fragment, and its length needs no more than 7 bits. */
static int may_begin(uint8_t first, uint8_t second) {
    uint8_t opcode = first & OPCODE;
    if (!(KNOWN >> opcode & 1)) return 0;
    return opcode < SCAN_CONTROL || ((first & FIN) && (second & LENGTH) <= SCAN_CONTROL_MAX);
}

/* Section 5.2: network byte order, the shortest form there is, and the top bit of 64 is 0. */
static int read_length(const uint8_t *data, size_t bytes, uint64_t *payload_bytes) {
    uint64_t length = (uint64_t)data[0] << 8 | data[1];
    for (size_t i = 2; i < bytes; i++) length = length << 8 | data[i];
    *payload_bytes = length;
    return bytes == 2 ? length > SCAN_CONTROL_MAX : length > UINT16_MAX && length <= INT64_MAX;
}

enum scan scan_any_header(const uint8_t *data, size_t have, struct client_frame *frame) {
    if (have < 2) return SCAN_MORE;
    if (!may_begin(data[0], data[1])) return SCAN_MALFORMED;
    uint8_t short_length = data[1] & LENGTH;
    size_t wide_bytes = short_length <= SCAN_CONTROL_MAX ? 0 : short_length == 126 ? 2 : 8;
    frame->payload_bytes = short_length;
    if (have < 2 + wide_bytes) return SCAN_MORE;
    if ((data[0] & RESERVED) || !(data[1] & MASKED)) return SCAN_MALFORMED;
    if (wide_bytes && !read_length(data + 2, wide_bytes, &frame->payload_bytes)) return SCAN_MALFORMED;
    if (have < 2 + wide_bytes + KEY_BYTES) return SCAN_MORE;
    frame->fin = data[0] & FIN;
    frame->opcode = data[0] & OPCODE;
    frame->header_bytes = 2 + wide_bytes + KEY_BYTES;
    memcpy(&frame->key, data + 2 + wide_bytes, KEY_BYTES);
    return SCAN_FRAME;
}
