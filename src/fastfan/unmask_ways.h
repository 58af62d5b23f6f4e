/* What the files of the unmasking share; nobody else includes it. See unmask.h for the whole.
 *
 * Every way keeps three rules. The last bytes are one load that overlaps those before it, so that no loop runs over
 * single bytes. That load comes before the first store, because in place a byte that is unmasked twice is masked
 * again. And a vector's key is turned to the place that the vector begins at.
 */
#ifndef FASTFAN_UNMASK_WAYS_H
#define FASTFAN_UNMASK_WAYS_H

#include "unmask.h"

/* Each writes the ways of its processors, best first, and returns how many: none on other processors. */
size_t unmask_ways_x86(struct unmask_way *ways);
size_t unmask_ways_arm(struct unmask_way *ways);

static inline uint64_t unmask_wide_key(uint32_t key) { return (uint64_t)key << 32 | key; }

/* Up to 16 bytes: two words that overlap. */
static inline void unmask_short(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key) {
    if (bytes >= 8) {
        uint64_t first, last;
        memcpy(&first, in, 8);
        memcpy(&last, in + bytes - 8, 8);
        first ^= unmask_wide_key(key);
        last ^= unmask_wide_key(unmask_key_at(key, bytes));
        memcpy(out, &first, 8);
        memcpy(out + bytes - 8, &last, 8);
    } else if (bytes >= 4) {
        uint32_t first, last;
        memcpy(&first, in, 4);
        memcpy(&last, in + bytes - 4, 4);
        first ^= key;
        last ^= unmask_key_at(key, bytes);
        memcpy(out, &first, 4);
        memcpy(out + bytes - 4, &last, 4);
    } else {
        uint8_t of_key[4];
        memcpy(of_key, &key, 4);
        for (size_t i = 0; i < bytes; i++) out[i] = in[i] ^ of_key[i];
    }
}

#endif
