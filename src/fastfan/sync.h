/* Locks and ordered loads and stores: the only place that names a memory order.
 *
 * Contract: acquire/release pairs as C11 has them (section 5.1.2.4). What a writer did before
 * store_release() is seen by a reader whose load_acquire() returned the stored value. Shared words are plain
 * uint64_t or pointers, naturally aligned, so that Cython structs can hold them.
 */
#ifndef FASTFAN_SYNC_H
#define FASTFAN_SYNC_H

#include <pthread.h>
#include <stdint.h>

typedef pthread_mutex_t mutex_t;

static inline void mutex_init(mutex_t *m) { pthread_mutex_init(m, NULL); }
static inline void mutex_destroy(mutex_t *m) { pthread_mutex_destroy(m); }
static inline void mutex_lock(mutex_t *m) { pthread_mutex_lock(m); }
static inline void mutex_unlock(mutex_t *m) { pthread_mutex_unlock(m); }

static inline uint64_t load_acquire(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void store_release(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static inline void *load_acquire_pointer(void *place) { return __atomic_load_n((void **)place, __ATOMIC_ACQUIRE); }
static inline void store_release_pointer(void *place, void *value) {
    __atomic_store_n((void **)place, value, __ATOMIC_RELEASE);
}
/* Counters that several threads move; the value after the move. */
static inline uint64_t add_fetch(uint64_t *word, int64_t step) {
    return __atomic_add_fetch(word, (uint64_t)step, __ATOMIC_RELAXED);
}
/* For a counter with one writer, whom others may read at any time. */
static inline void count_up(uint64_t *word, uint64_t step) {
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + step, __ATOMIC_RELAXED);
}
/* The value before; a full barrier, so that a flag set and a state looked at afterwards cannot pass each other. */
static inline uint64_t exchange_full(uint64_t *word, uint64_t value) {
    return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

/* Sets bits, with the same barrier. */
static inline void set_bits_full(uint64_t *word, uint64_t bits) { __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST); }
/* Clears them; the value before. */
static inline uint64_t clear_bits_full(uint64_t *word, uint64_t bits) {
    return __atomic_fetch_and(word, ~bits, __ATOMIC_SEQ_CST);
}

#endif
