#include "unmask_ways.h"

#ifdef __x86_64__

#include <immintrin.h>

/* Inlined into one another, the ways would burden short payloads with the stack frame of the long ones. */
#define APART __attribute__((noinline))

static inline __m128i key_16(uint32_t key, size_t place) { return _mm_set1_epi32((int)unmask_key_at(key, place)); }

static inline void xor_16(uint8_t *out, const uint8_t *in, __m128i key) {
    _mm_storeu_si128((__m128i *)out, _mm_xor_si128(_mm_loadu_si128((const __m128i *)in), key));
}

/* Every x86_64 has SSE2. */
static APART void unmask_sse2(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 16) {
        unmask_short(out, in, bytes, key);
        return;
    }
    const __m128i wide = key_16(key, 0);
    const __m128i last = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(in + bytes - 16)), key_16(key, bytes));
    size_t i = 0;
    for (; i + 64 < bytes; i += 64) {
        xor_16(out + i, in + i, wide);
        xor_16(out + i + 16, in + i + 16, wide);
        xor_16(out + i + 32, in + i + 32, wide);
        xor_16(out + i + 48, in + i + 48, wide);
    }
    for (; i + 16 < bytes; i += 16) xor_16(out + i, in + i, wide);
    _mm_storeu_si128((__m128i *)(out + bytes - 16), last);
}

/* From here on it pays to begin with a few bytes, so that no store lies across two cache lines. */
enum { LARGE = 512 };

#define AVX2 __attribute__((target("avx2")))

static inline AVX2 void xor_32(uint8_t *out, const uint8_t *in, __m256i key) {
    _mm256_storeu_si256((__m256i *)out, _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)in), key));
}

static inline AVX2 void run_avx2(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    const __m256i wide = _mm256_set1_epi32((int)key);
    const __m256i last = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + bytes - 32)),
                                          _mm256_set1_epi32((int)unmask_key_at(key, bytes)));
    size_t i = 0;
    for (; i + 128 < bytes; i += 128) {
        xor_32(out + i, in + i, wide);
        xor_32(out + i + 32, in + i + 32, wide);
        xor_32(out + i + 64, in + i + 64, wide);
        xor_32(out + i + 96, in + i + 96, wide);
    }
    for (; i + 32 < bytes; i += 32) xor_32(out + i, in + i, wide);
    _mm256_storeu_si256((__m256i *)(out + bytes - 32), last);
}

static AVX2 APART void large_avx2(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    const size_t lead = 32 - ((uintptr_t)out & 31);
    unmask_sse2(out, in, lead, key);
    run_avx2(out + lead, in + lead, bytes - lead, unmask_key_at(key, lead));
}

static AVX2 APART void unmask_avx2(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 32)
        unmask_sse2(out, in, bytes, key);
    else if (bytes < LARGE)
        run_avx2(out, in, bytes, key);
    else
        large_avx2(out, in, bytes, key);
}

#define AVX512 __attribute__((target("avx512f")))

static inline AVX512 void xor_64(uint8_t *out, const uint8_t *in, __m512i key) {
    _mm512_storeu_si512(out, _mm512_xor_si512(_mm512_loadu_si512(in), key));
}

static inline AVX512 void run_avx512(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    const __m512i wide = _mm512_set1_epi32((int)key);
    const __m512i last = _mm512_xor_si512(_mm512_loadu_si512((in + bytes - 64)),
                                          _mm512_set1_epi32((int)unmask_key_at(key, bytes)));
    size_t i = 0;
    for (; i + 256 < bytes; i += 256) {
        xor_64(out + i, in + i, wide);
        xor_64(out + i + 64, in + i + 64, wide);
        xor_64(out + i + 128, in + i + 128, wide);
        xor_64(out + i + 192, in + i + 192, wide);
    }
    for (; i + 64 < bytes; i += 64) xor_64(out + i, in + i, wide);
    _mm512_storeu_si512((out + bytes - 64), last);
}

static AVX512 APART void large_avx512(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    const size_t lead = 64 - ((uintptr_t)out & 63);
    unmask_avx2(out, in, lead, key);
    run_avx512(out + lead, in + lead, bytes - lead, unmask_key_at(key, lead));
}

static AVX512 APART void unmask_avx512(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 64)
        unmask_avx2(out, in, bytes, key);
    else if (bytes < LARGE)
        run_avx512(out, in, bytes, key);
    else
        large_avx512(out, in, bytes, key);
}

size_t unmask_ways_x86(struct unmask_way *ways) {
    size_t count = 0;
    __builtin_cpu_init();
    /* Processors that have AVX-512 but not this part of it (before Ice Lake) lower their clock for it, which would cost
     * everything else that runs more than it saves here. */
    if (__builtin_cpu_supports("avx512vbmi2")) ways[count++] = (struct unmask_way){"avx512", unmask_avx512};
    if (__builtin_cpu_supports("avx2")) ways[count++] = (struct unmask_way){"avx2", unmask_avx2};
    ways[count++] = (struct unmask_way){"sse2", unmask_sse2};
    return count;
}

#else

size_t unmask_ways_x86(struct unmask_way *ways) {
    (void)ways;
    return 0;
}

#endif
