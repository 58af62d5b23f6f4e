#include "utf8_ways.h"

#include <string.h>

/* The automaton of RFC 3629 section 4's grammar. A state says what must come:
 *
 *   WHOLE   a character                              ONE, TWO, THREE   so many more bytes 80..BF
 *   AFTER_E0   A0..BF, then ONE   (no overlong)      AFTER_ED   80..9F, then ONE   (no surrogate)
 *   AFTER_F0   90..BF, then TWO   (no overlong)      AFTER_F4   80..8F, then TWO   (no more than U+10FFFF)
 *
 * Each byte has a row: one word that holds, at bit number S, the six bits of the state that the byte leads to from
 * state S. So states are multiples of 6, and a step is a load and a shift, without a branch that text could mislead.
 */
enum {
    WHOLE = UTF8_START, WRONG = 6, ONE = 12, TWO = 18, THREE = 24,
    AFTER_E0 = 30, AFTER_ED = 36, AFTER_F0 = 42, AFTER_F4 = 48,
    STATE_BITS = 63
};

#define FROM(state, to) ((uint64_t)(to) << (state))
#define NO_STATE(state) FROM(state, WRONG)

/* What begins a character may come when one is complete, and at no other time. */
#define BEGINS(to) \
    FROM(WHOLE, to) | NO_STATE(WRONG) | NO_STATE(ONE) | NO_STATE(TWO) | NO_STATE(THREE) | NO_STATE(AFTER_E0) | \
    NO_STATE(AFTER_ED) | NO_STATE(AFTER_F0) | NO_STATE(AFTER_F4)

/* What goes on with one; the four narrow states differ. */
#define GOES_ON(e0, ed, f0, f4) \
    NO_STATE(WHOLE) | NO_STATE(WRONG) | FROM(ONE, WHOLE) | FROM(TWO, ONE) | FROM(THREE, TWO) | FROM(AFTER_E0, e0) | \
    FROM(AFTER_ED, ed) | FROM(AFTER_F0, f0) | FROM(AFTER_F4, f4)

static const uint64_t rows[256] = {
    [0x00 ... 0x7F] = BEGINS(WHOLE),
    [0x80 ... 0x8F] = GOES_ON(WRONG, ONE, WRONG, TWO),
    [0x90 ... 0x9F] = GOES_ON(WRONG, ONE, TWO, WRONG),
    [0xA0 ... 0xBF] = GOES_ON(ONE, WRONG, TWO, WRONG),
    [0xC0 ... 0xC1] = BEGINS(WRONG),
    [0xC2 ... 0xDF] = BEGINS(ONE),
    [0xE0] = BEGINS(AFTER_E0),
    [0xE1 ... 0xEC] = BEGINS(TWO),
    [0xED] = BEGINS(AFTER_ED),
    [0xEE ... 0xEF] = BEGINS(TWO),
    [0xF0] = BEGINS(AFTER_F0),
    [0xF1 ... 0xF3] = BEGINS(THREE),
    [0xF4] = BEGINS(AFTER_F4),
    [0xF5 ... 0xFF] = BEGINS(WRONG),
};

static inline uint64_t step(uint64_t state, const uint8_t *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) state = rows[data[i]] >> (state & STATE_BITS);
    return state & STATE_BITS;
}

enum { ALWAYS = UNFINISHED | STRAY | CONTINUED };       /* the first byte's low nibble does not matter */

const uint8_t utf8_first_high[16] = {
    [0x0 ... 0x7] = STRAY,
    [0x8 ... 0xB] = CONTINUED,
    [0xC] = UNFINISHED | OVERLONG_2,
    [0xD] = UNFINISHED,
    [0xE] = UNFINISHED | OVERLONG_3 | SURROGATE,
    [0xF] = UNFINISHED | BAD_8 | TOO_LARGE,
};
const uint8_t utf8_first_low[16] = {
    [0x0] = ALWAYS | OVERLONG_2 | OVERLONG_3 | BAD_8,
    [0x1] = ALWAYS | OVERLONG_2,
    [0x2 ... 0x3] = ALWAYS,
    [0x4] = ALWAYS | TOO_LARGE,
    [0x5 ... 0xC] = ALWAYS | BAD_8 | TOO_LARGE,
    [0xD] = ALWAYS | BAD_8 | TOO_LARGE | SURROGATE,
    [0xE ... 0xF] = ALWAYS | BAD_8 | TOO_LARGE,
};
const uint8_t utf8_second_high[16] = {
    [0x0 ... 0x7] = UNFINISHED,
    [0x8] = STRAY | CONTINUED | OVERLONG_2 | OVERLONG_3 | BAD_8,
    [0x9] = STRAY | CONTINUED | OVERLONG_2 | OVERLONG_3 | TOO_LARGE,
    [0xA ... 0xB] = STRAY | CONTINUED | OVERLONG_2 | SURROGATE | TOO_LARGE,
    [0xC ... 0xF] = UNFINISHED,
};

static inline uint64_t word_at(const uint8_t *data) {
    uint64_t word;
    memcpy(&word, data, 8);
    return word;
}

size_t utf8_skip_ascii(const uint8_t *data, size_t bytes) {
    const uint64_t high_bits = 0x8080808080808080;
    size_t i = 0;
    for (; i + 32 <= bytes; i += 32) {
        const uint8_t *here = data + i;
        if ((word_at(here) | word_at(here + 8) | word_at(here + 16) | word_at(here + 24)) & high_bits) break;
    }
    while (i + 8 <= bytes && !(word_at(data + i) & high_bits)) i += 8;
    return i;
}

size_t utf8_ways(struct utf8_way ways[UTF8_WAYS_MAX]) {
    size_t count = utf8_ways_x86(ways);
    count += utf8_ways_arm(ways + count);
    ways[count] = (struct utf8_way){"plain", utf8_skip_ascii};
    return count + 1;
}

typedef size_t skip(const uint8_t *data, size_t bytes);

static skip choose;

/* As in unmask.c: relaxed, because every thread that still finds `choose` stores the same. */
static skip *chosen = choose;

static size_t choose(const uint8_t *data, size_t bytes) {
    struct utf8_way ways[UTF8_WAYS_MAX];
    utf8_ways(ways);
    __atomic_store_n(&chosen, ways[0].skip, __ATOMIC_RELAXED);
    return ways[0].skip(data, bytes);
}

/* Where a way gives up, the automaton goes this far before it is tried again. */
enum { STRETCH = 64 };

enum utf8 utf8_check(uint8_t *state, const uint8_t *data, size_t bytes) {
    uint64_t now = *state;
    for (size_t i = 0; i < bytes && now != WRONG;) {
        if (now == WHOLE) i += __atomic_load_n(&chosen, __ATOMIC_RELAXED)(data + i, bytes - i);
        size_t stretch = bytes - i < STRETCH ? bytes - i : STRETCH;
        now = step(now, data + i, stretch);
        i += stretch;
    }
    *state = (uint8_t)now;
    return now == WHOLE ? UTF8_WHOLE : now == WRONG ? UTF8_WRONG : UTF8_CUT;
}
