#include "unmask_ways.h"

#ifdef __aarch64__

#include <arm_neon.h>

static inline uint8x16_t key_16(uint32_t key) { return vreinterpretq_u8_u32(vdupq_n_u32(key)); }

/* Every aarch64 that Linux runs on has NEON. */
static void unmask_neon(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 16) {
        unmask_short(out, in, bytes, key);
        return;
    }
    const uint8x16_t wide = key_16(key);
    const uint8x16_t last = veorq_u8(vld1q_u8(in + bytes - 16), key_16(unmask_key_at(key, bytes)));
    size_t i = 0;
    for (; i + 64 < bytes; i += 64) {
        vst1q_u8(out + i, veorq_u8(vld1q_u8(in + i), wide));
        vst1q_u8(out + i + 16, veorq_u8(vld1q_u8(in + i + 16), wide));
        vst1q_u8(out + i + 32, veorq_u8(vld1q_u8(in + i + 32), wide));
        vst1q_u8(out + i + 48, veorq_u8(vld1q_u8(in + i + 48), wide));
    }
    for (; i + 16 < bytes; i += 16) vst1q_u8(out + i, veorq_u8(vld1q_u8(in + i), wide));
    vst1q_u8(out + bytes - 16, last);
}

size_t unmask_ways_arm(struct unmask_way *ways) {
    ways[0] = (struct unmask_way){"neon", unmask_neon};
    return 1;
}

#else

size_t unmask_ways_arm(struct unmask_way *ways) {
    (void)ways;
    return 0;
}

#endif
