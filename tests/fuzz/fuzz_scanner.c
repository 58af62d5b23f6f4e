/* Client headers: every cut of a header, and frame after frame through a stream, beside section 5.2 read field by field. */
#include "fuzz.h"

#include "scanner.h"

enum { LONGEST = 14 };

struct fields {
    enum scan verdict;
    unsigned fin, opcode, header_bytes;
    uint64_t payload_bytes;
    uint8_t key[4];
};

static unsigned bits(const uint8_t *data, unsigned from, unsigned count) {
    unsigned value = 0;
    for (unsigned i = from; i < from + count; i++) value = value << 1 | (data[i / 8] >> (7 - i % 8) & 1);
    return value;
}

/* The picture of section 5.2, bit by bit, and the shoulds and musts below it. */
static struct fields slowly(const uint8_t *data, size_t have) {
    struct fields f = {.verdict = SCAN_MORE};
    if (have < 2) return f;
    static const char known[16] = {1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0};
    f.fin = bits(data, 0, 1);
    f.opcode = bits(data, 4, 4);
    unsigned length = bits(data, 9, 7), length_bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
    int control = f.opcode == 8 || f.opcode == 9 || f.opcode == 10;
    f.verdict = SCAN_MALFORMED;
    if (!known[f.opcode] || (control && (!f.fin || length_bytes))) return f;
    f.verdict = SCAN_MORE;
    if (have < 2 + length_bytes) return f;
    f.verdict = SCAN_MALFORMED;
    if (bits(data, 1, 3) != 0 || bits(data, 8, 1) != 1) return f;
    f.verdict = SCAN_MORE;
    f.payload_bytes = length_bytes ? 0 : length;
    for (unsigned i = 0; i < length_bytes; i++) f.payload_bytes = f.payload_bytes * 256 + data[2 + i];
    f.verdict = SCAN_MALFORMED;
    if (length == 126 && f.payload_bytes < 126) return f;
    if (length == 127 && (f.payload_bytes < 65536 || bits(data + 2, 0, 1))) return f;
    f.verdict = SCAN_MORE;
    f.header_bytes = 2 + length_bytes + 4;
    if (have < f.header_bytes) return f;
    f.verdict = SCAN_FRAME;
    memcpy(f.key, data + 2 + length_bytes, 4);
    return f;
}

static struct fields check_one(const uint8_t *data, size_t have) {
    struct client_frame frame;
    struct fields expected = slowly(data, have);
    memset(&frame, 0xA5, sizeof frame);
    CHECK(scan_header(data, have, &frame) == expected.verdict);
    if (expected.verdict != SCAN_FRAME) return expected;
    CHECK(!frame.fin == !expected.fin && frame.opcode == expected.opcode);
    CHECK(frame.header_bytes == expected.header_bytes && frame.payload_bytes == expected.payload_bytes);
    CHECK(memcmp(&frame.key, expected.key, 4) == 0);
    CHECK(frame.payload_bytes + frame.header_bytes > frame.payload_bytes);
    CHECK(frame.opcode < SCAN_CONTROL || (frame.fin && frame.payload_bytes <= SCAN_CONTROL_MAX));
    return expected;
}

/* Once a verdict is given, what comes behind the bytes does not change it. */
static void check_cuts(const uint8_t *data, size_t bytes) {
    enum scan before = SCAN_MORE;
    for (size_t have = 0; have <= bytes && have <= LONGEST + 2; have++) {
        uint8_t *cut = exact_copy(data, have);
        enum scan verdict = check_one(cut, have).verdict;
        CHECK(before == SCAN_MORE || verdict == before);
        before = verdict;
        free(cut);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    for (;;) {
        check_cuts(data, bytes);
        struct fields f = check_one(data, bytes);
        if (f.verdict != SCAN_FRAME || f.payload_bytes > bytes - f.header_bytes) return 0;
        data += f.header_bytes + f.payload_bytes;
        bytes -= f.header_bytes + f.payload_bytes;
    }
}
