#include "utf8_ways.h"

#ifdef __aarch64__

#include <arm_neon.h>

/* Are 16 bytes wrong, as far as the bytes one, two and three before each tell? */
static inline int is_wrong(uint8x16_t here, uint8x16_t one, uint8x16_t two, uint8x16_t three) {
    uint8x16_t faults = vqtbl1q_u8(vld1q_u8(utf8_first_high), vshrq_n_u8(one, 4));
    faults = vandq_u8(faults, vqtbl1q_u8(vld1q_u8(utf8_first_low), vandq_u8(one, vdupq_n_u8(0x0F))));
    faults = vandq_u8(faults, vqtbl1q_u8(vld1q_u8(utf8_second_high), vshrq_n_u8(here, 4)));
    uint8x16_t must_continue = vorrq_u8(vqsubq_u8(two, vdupq_n_u8(BELOW_LEAD_3)),
                                        vqsubq_u8(three, vdupq_n_u8(BELOW_LEAD_4)));
    faults = veorq_u8(faults, vandq_u8(must_continue, vdupq_n_u8(CONTINUED)));
    return vmaxvq_u8(faults) != 0;
}

/* The first 16 bytes: as if ASCII came before them. */
static inline int begins_wrong(uint8x16_t here) {
    const uint8x16_t before = vdupq_n_u8(0);
    return is_wrong(here, vextq_u8(before, here, 15), vextq_u8(before, here, 14), vextq_u8(before, here, 13));
}

static inline int goes_on_wrong(const uint8_t *data) {
    return is_wrong(vld1q_u8(data), vld1q_u8(data - 1), vld1q_u8(data - 2), vld1q_u8(data - 3));
}

static inline int is_ascii(uint8x16_t v) { return vmaxvq_u8(v) < 0x80; }

/* Text that is not ASCII; the last vector overlaps the one before. `i` is 16 at least, and right up to there. */
static size_t skip_on(const uint8_t *data, size_t bytes, size_t i) {
    while (i < bytes) {
        size_t next = i + 16 <= bytes ? i : bytes - 16;
        /* With the three bytes before it: a character may end in this vector that is not ASCII. */
        if (!is_ascii(vorrq_u8(vld1q_u8(data + next), vld1q_u8(data + next - 3))) && goes_on_wrong(data + next)) break;
        i = next + 16;
    }
    return utf8_whole_until(data, i);
}

static size_t skip_neon(const uint8_t *data, size_t bytes) {
    if (bytes < 20) return utf8_skip_ascii(data, bytes);
    uint8x16_t first = vld1q_u8(data);
    if (!is_ascii(first)) return begins_wrong(first) ? 0 : skip_on(data, bytes, 16);
    return skip_on(data, bytes, 16 + (utf8_skip_ascii(data + 16, bytes - 16) & ~(size_t)63));
}

size_t utf8_ways_arm(struct utf8_way *ways) {
    ways[0] = (struct utf8_way){"neon", skip_neon};
    return 1;
}

#else

size_t utf8_ways_arm(struct utf8_way *ways) {
    (void)ways;
    return 0;
}

#endif
