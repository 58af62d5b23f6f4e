#include "utf8_ways.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

static inline AVX2 __m256i load(const uint8_t *data) { return _mm256_loadu_si256((const __m256i *)data); }

static inline AVX2 __m256i high_nibbles(__m256i v) {
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0F));
}

/* In both halves, as a shuffle wants it. */
static inline AVX2 __m256i table(const uint8_t bytes[16]) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
}

/* Are 32 bytes wrong, as far as the bytes one, two and three before each tell? */
static inline AVX2 int is_wrong(__m256i here, __m256i one, __m256i two, __m256i three) {
    __m256i low_nibbles = _mm256_and_si256(one, _mm256_set1_epi8(0x0F));
    __m256i faults = _mm256_shuffle_epi8(table(utf8_first_high), high_nibbles(one));
    faults = _mm256_and_si256(faults, _mm256_shuffle_epi8(table(utf8_first_low), low_nibbles));
    faults = _mm256_and_si256(faults, _mm256_shuffle_epi8(table(utf8_second_high), high_nibbles(here)));
    __m256i must_continue = _mm256_or_si256(_mm256_subs_epu8(two, _mm256_set1_epi8(BELOW_LEAD_3)),
                                            _mm256_subs_epu8(three, _mm256_set1_epi8(BELOW_LEAD_4)));
    must_continue = _mm256_and_si256(must_continue, _mm256_set1_epi8((char)CONTINUED));
    faults = _mm256_xor_si256(faults, must_continue);
    return !_mm256_testz_si256(faults, faults);
}

/* The first 32 bytes: as if ASCII came before them. */
static inline AVX2 int begins_wrong(__m256i here) {
    __m256i before = _mm256_permute2x128_si256(here, here, 0x08);       /* 16 zeros, and the lower half */
    return is_wrong(here, _mm256_alignr_epi8(here, before, 15), _mm256_alignr_epi8(here, before, 14),
                    _mm256_alignr_epi8(here, before, 13));
}

static inline AVX2 int goes_on_wrong(const uint8_t *data) {
    return is_wrong(load(data), load(data - 1), load(data - 2), load(data - 3));
}

static inline AVX2 int is_ascii(__m256i v) { return _mm256_movemask_epi8(v) == 0; }

/* Text that is not ASCII; the last vector overlaps the one before. `i` is 32 at least, and right up to there. */
static AVX2 size_t skip_on(const uint8_t *data, size_t bytes, size_t i) {
    while (i < bytes) {
        size_t next = i + 32 <= bytes ? i : bytes - 32;
        /* With the three bytes before it: a character may end in this vector that is not ASCII. */
        if (!is_ascii(_mm256_or_si256(load(data + next), load(data + next - 3))) && goes_on_wrong(data + next)) break;
        i = next + 32;
    }
    return utf8_whole_until(data, i);
}

static AVX2 size_t skip_avx2(const uint8_t *data, size_t bytes) {
    if (bytes < 36) return utf8_skip_ascii(data, bytes);
    __m256i first = load(data);
    size_t i = 32;
    if (is_ascii(first))
        while (i + 64 <= bytes && is_ascii(_mm256_or_si256(load(data + i), load(data + i + 32)))) i += 64;
    else if (begins_wrong(first))
        return 0;
    return skip_on(data, bytes, i);
}

size_t utf8_ways_x86(struct utf8_way *ways) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return 0;
    ways[0] = (struct utf8_way){"avx2", skip_avx2};
    return 1;
}

#else

size_t utf8_ways_x86(struct utf8_way *ways) {
    (void)ways;
    return 0;
}

#endif
