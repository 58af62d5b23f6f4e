#include "unmask_ways.h"

typedef void way(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key);

/* Word by word: every processor has this one. */
static void unmask_plain(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 16) {
        unmask_short(out, in, bytes, key);
        return;
    }
    const uint64_t wide = unmask_wide_key(key);
    uint64_t last;
    memcpy(&last, in + bytes - 8, 8);
    last ^= unmask_wide_key(unmask_key_at(key, bytes));
    const size_t end = (bytes - 1) & ~(size_t)7;
    for (size_t i = 0; i < end; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= wide;
        memcpy(out + i, &word, 8);
    }
    memcpy(out + bytes - 8, &last, 8);
}

size_t unmask_ways(struct unmask_way ways[UNMASK_WAYS_MAX]) {
    size_t count = unmask_ways_x86(ways);
    count += unmask_ways_arm(ways + count);
    ways[count] = (struct unmask_way){"plain", unmask_plain};
    return count + 1;
}

static way choose;

/* The only shared word. Relaxed is enough: it leads to code, not to data that somebody wrote before, and every thread
 * that still finds `choose` here stores the same. */
static way *chosen = choose;

static void choose(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    struct unmask_way ways[UNMASK_WAYS_MAX];
    unmask_ways(ways);
    __atomic_store_n(&chosen, ways[0].unmask, __ATOMIC_RELAXED);
    ways[0].unmask(out, in, bytes, key);
}

void unmask(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes <= 16)        /* too few to be worth the jump */
        unmask_short(out, in, bytes, key);
    else
        __atomic_load_n(&chosen, __ATOMIC_RELAXED)(out, in, bytes, key);
}
