/* A histogram of nanoseconds with a bounded relative error, as HdrHistogram has it: log-linear buckets, 128 for each
 * power of two, so that a value read back is within 1 in 256 of the one recorded. No allocation; one thread. */
#ifndef FASTFAN_LOAD_HISTOGRAM_H
#define FASTFAN_LOAD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BITS = 7, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline void histogram_record(struct histogram *h, uint64_t value) {
    int shift = value >> HISTOGRAM_BITS ? 63 - HISTOGRAM_BITS - __builtin_clzll(value) : -1;
    h->buckets[shift < 0 ? value : ((uint64_t)shift << HISTOGRAM_BITS) + (value >> shift)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

/* The value that `fraction` (0 to 1) of all are at or below; 0 when there are none. */
uint64_t histogram_value_at(const struct histogram *h, double fraction);

#endif
