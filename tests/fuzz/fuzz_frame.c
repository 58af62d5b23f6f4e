/* Server headers: the shortest form, of any size, read back by section 5.2; and, masked, by our own scanner. */
#include "fuzz.h"

#include "frame.h"
#include "scanner.h"

static uint64_t read_back(const uint8_t *header, size_t *header_bytes) {
    uint64_t size = 0;
    unsigned wide = header[1] == 127 ? 8 : header[1] == 126 ? 2 : 0;
    for (unsigned i = 0; i < wide; i++) size = size * 256 + header[2 + i];
    *header_bytes = 2 + wide;
    return wide ? size : header[1];
}

static void check_scanned(const uint8_t *header, size_t header_bytes, uint64_t size) {
    static const uint8_t key[4] = {1, 2, 3, 4};
    uint8_t masked[FRAME_HEADER_MAX + 4];
    struct client_frame frame;
    memcpy(masked, header, header_bytes);
    memcpy(masked + header_bytes, key, 4);
    masked[1] |= 0x80;
    CHECK(scan_header(masked, header_bytes + 4, &frame) == SCAN_FRAME);
    CHECK(frame.payload_bytes == size && frame.header_bytes == header_bytes + 4 && frame.fin);
    CHECK(frame.opcode == (header[0] & 0x0F));
}

static void check_size(uint8_t opcode, uint64_t size) {
    size_t header_bytes = frame_header_size(size), back_bytes;
    CHECK(header_bytes <= FRAME_HEADER_MAX);
    uint8_t *header = malloc(header_bytes);
    CHECK(header);
    memset(header, 0xA5, header_bytes);
    CHECK(frame_write_header(header, opcode, size) == header_bytes);
    CHECK(header[0] == (0x80 | opcode) && header[1] < 128);
    CHECK(read_back(header, &back_bytes) == size && back_bytes == header_bytes);
    CHECK(header_bytes == (size < 126 ? 2 : size < 65536 ? 4 : 10));
    CHECK(frame_size_at(header) == header_bytes + size);
    if (size < 126 || opcode <= FRAME_BINARY) check_scanned(header, header_bytes, size);
    free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const uint8_t opcodes[] = {FRAME_TEXT, FRAME_BINARY, 0x8, FRAME_PING, 0xA};
    struct input in = {data, bytes};
    while (in.bytes) {
        uint8_t opcode = opcodes[take(&in, 1) % sizeof opcodes];
        /* Of any magnitude; the top bit is never set (section 5.2). */
        uint64_t magnitude = 1 + take(&in, 1) % 63;
        check_size(opcode, take(&in, 8) >> magnitude);
    }
    return 0;
}
