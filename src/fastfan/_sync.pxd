"""Locks and ordered loads and stores (sync.h)."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "sync.h" nogil:
    ctypedef struct mutex_t:
        pass
    void mutex_init(mutex_t *lock)
    void mutex_destroy(mutex_t *lock)
    void mutex_lock(mutex_t *lock)
    void mutex_unlock(mutex_t *lock)
    uint64_t load_acquire(const uint64_t *word)
    void store_release(uint64_t *word, uint64_t value)
    void *load_acquire_pointer(void *place)
    void store_release_pointer(void *place, void *value)
    uint64_t add_fetch(uint64_t *word, int64_t step)
    void count_up(uint64_t *word, uint64_t step)
    uint64_t exchange_full(uint64_t *word, uint64_t value)
    void set_bits_full(uint64_t *word, uint64_t bits)
    uint64_t clear_bits_full(uint64_t *word, uint64_t bits)
