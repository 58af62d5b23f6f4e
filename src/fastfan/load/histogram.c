#include "histogram.h"

static uint64_t middle_of(int bucket) {
    int shift = (bucket >> HISTOGRAM_BITS) - 1;
    if (shift < 1)
        return bucket;
    uint64_t lowest = (uint64_t)(bucket - (shift << HISTOGRAM_BITS)) << shift;
    return lowest + (1ull << (shift - 1));
}

uint64_t histogram_value_at(const struct histogram *h, double fraction) {
    uint64_t below = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += h->buckets[i];
        if (below && below >= fraction * (double)h->count) {
            uint64_t value = middle_of(i);
            return value < h->max ? value : h->max;
        }
    }
    return h->max;
}
