/* ring: the log of the bare programs: one memory mapped twice, end to end, so that every range in it is contiguous.
 *
 * Positions count bytes from the first byte ever. Whoever knows that everyone has everything sets log_origin to log_end:
 * then the next byte goes to the ring's start again, which is warm in the cache.
 */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RING_BYTES = 128 << 20 };        /* a power of two */

static uint8_t *ring;
static uint64_t log_end, log_origin;    /* positions: after the last byte; of the byte at the ring's start */

/* False with errno. Once, before anything else. */
static inline bool map_ring(void)
{
    int fd = memfd_create("log", 0);
    if (fd < 0 || ftruncate(fd, RING_BYTES) < 0)
        return false;
    ring = mmap(NULL, 2ul * RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int half = 0; half < 2; half++) {
        void *at = ring + (size_t)half * RING_BYTES;
        if (mmap(at, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            return false;
    }
    close(fd);
    return true;
}

static inline uint8_t *at(uint64_t position)
{
    return ring + ((position - log_origin) & (RING_BYTES - 1));
}

#endif
