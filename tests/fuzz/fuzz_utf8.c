/* UTF-8: every prefix, whole and cut, beside a reference that reckons in characters' numbers and knows no automaton. */
#include "fuzz.h"

#include "utf8.h"

enum { LAST = 0x10FFFF, SURROGATES = 0xD800, AFTER_SURROGATES = 0xE000 };

static unsigned length_of(uint8_t lead) {
    if (lead < 0x80) return 1;
    if ((lead & 0xE0) == 0xC0) return 2;
    if ((lead & 0xF0) == 0xE0) return 3;
    return (lead & 0xF8) == 0xF0 ? 4 : 0;
}

/* Is one of the numbers from `low` to `high` a character that needs `length` bytes? */
static int has_character(uint32_t low, uint32_t high, unsigned length) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (low < least[length]) low = least[length];
    if (high > LAST) high = LAST;
    if (low >= SURROGATES && low < AFTER_SURROGATES) low = AFTER_SURROGATES;
    return low <= high && !(low >= SURROGATES && high < AFTER_SURROGATES);
}

/* One character: moves `*place` behind it. Bytes that are not here yet may be anything from 80 to BF. */
static enum utf8 slow_character(const uint8_t *data, size_t bytes, size_t *place) {
    unsigned length = length_of(data[*place]);
    if (length == 0) return UTF8_WRONG;
    uint32_t low = length == 1 ? data[*place] : data[*place] & (0x7Fu >> length), high = low;
    for (unsigned i = 1; i < length; i++) {
        int here = *place + i < bytes;
        if (here && (data[*place + i] & 0xC0) != 0x80) return UTF8_WRONG;
        low = low << 6 | (here ? data[*place + i] & 0x3F : 0);
        high = high << 6 | (here ? data[*place + i] & 0x3F : 0x3F);
    }
    if (!has_character(low, high, length)) return UTF8_WRONG;
    if (*place + length > bytes) return UTF8_CUT;
    *place += length;
    return UTF8_WHOLE;
}

static enum utf8 slowly(const uint8_t *data, size_t bytes) {
    enum utf8 verdict = UTF8_WHOLE;
    for (size_t place = 0; place < bytes && verdict == UTF8_WHOLE;) verdict = slow_character(data, bytes, &place);
    return verdict;
}

/* Given in pieces whose sizes are `step` to 8 times `step`; each verdict is that of the prefix. */
static void check_pieces(const uint8_t *data, size_t bytes, size_t step) {
    uint8_t state = UTF8_START;
    for (size_t done = 0, piece; done < bytes; done += piece) {
        piece = step * (1 + data[done] % 8);
        if (piece > bytes - done) piece = bytes - done;
        uint8_t *copy = exact_copy(data + done, piece);
        enum utf8 verdict = utf8_check(&state, copy, piece);
        free(copy);
        CHECK(verdict == slowly(data, done + piece));
        CHECK(utf8_check(&state, data, 0) == verdict);
        if (verdict == UTF8_WRONG) {
            CHECK(utf8_check(&state, (const uint8_t *)"so it stays", 11) == UTF8_WRONG);
            return;
        }
    }
}

/* What a way passes over is right, and ends where a character does. */
static void check_ways(const uint8_t *data, size_t bytes) {
    struct utf8_way ways[UTF8_WAYS_MAX];
    size_t count = utf8_ways(ways);
    CHECK(count >= 1 && count <= UTF8_WAYS_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t skipped = ways[i].skip(data, bytes);
        CHECK(skipped <= bytes && slowly(data, skipped) == UTF8_WHOLE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct input in = {data, bytes};
    size_t step = 1 + take(&in, 1) % 32;
    uint8_t state = UTF8_START;
    uint8_t *whole = exact_copy(in.data, in.bytes);
    CHECK(utf8_check(&state, whole, in.bytes) == slowly(whole, in.bytes));
    check_ways(whole, in.bytes);
    check_pieces(whole, in.bytes, step);
    if (in.bytes <= 64) check_pieces(whole, in.bytes, 1);
    free(whole);
    return 0;
}
