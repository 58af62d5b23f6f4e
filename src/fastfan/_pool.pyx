"""Where segments come from and go to: size classes, spare ones for reuse, and the count against the memory limit.

    logs ──pool_release──► spare, by size class ──pool_ease──► the system
      ▲                       │
      └──────pool_take────────┘◄── the system, when none is spare

Any thread may take and release; `used_bytes` counts what is in use, not what is spare, and lent chunks as well.
A message that does not fit the largest class has a block of its own size, which is never kept.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastfan._sync cimport add_fetch, load_acquire, mutex_destroy, mutex_init, mutex_lock, mutex_unlock


cdef extern from "pages.h" nogil:
    void *pages_map(size_t nbytes)
    void *pages_grow(void *block, size_t bytes_old, size_t bytes_new)
    void pages_unmap(void *block, size_t nbytes)

cdef enum:
    SMALLEST_BLOCK = 4096
    PAGED_FROM = 65536          # blocks from here on are mapped, so that freeing one shrinks the process
    SPARE_MAX = 16 << 20        # bytes of free segments kept for reuse


cdef void pool_init(Pool *pool, uint64_t limit_bytes) noexcept nogil:
    memset(pool, 0, sizeof(Pool))
    mutex_init(&pool.lock)
    pool.limit_bytes = limit_bytes


cdef void pool_clear(Pool *pool) noexcept nogil:
    cdef int size_class
    cdef Segment *segment
    for size_class in range(SIZE_CLASSES):
        while pool.spare[size_class] != NULL:
            segment = pool.spare[size_class]
            pool.spare[size_class] = segment.next
            block_free(segment)
    pool.spare_bytes = 0
    mutex_destroy(&pool.lock)


cdef bint pool_allows(Pool *pool, uint64_t more_bytes) noexcept nogil:
    return load_acquire(&pool.used_bytes) + more_bytes <= pool.limit_bytes


cdef bint pool_short(Pool *pool) noexcept nogil:
    """Whether four fifths of the limit are in use: from there on publishers wait."""
    return load_acquire(&pool.used_bytes) >= pool.limit_bytes // 5 * 4


cdef bint pool_crowded(Pool *pool) noexcept nogil:
    """Whether messages that are arriving take more than half of the limit: before they make memory short for all."""
    return load_acquire(&pool.partial_bytes) > pool.limit_bytes // 2


cdef inline size_t class_block_bytes(int size_class) noexcept nogil:
    return <size_t>SMALLEST_BLOCK << (2 * size_class)


cdef size_t class_capacity(int size_class) noexcept nogil:
    cdef size_t block_bytes = class_block_bytes(size_class)
    return block_bytes - sizeof(Segment) - sizeof(Mark) * (block_bytes // MARK_STRIDE)


cdef Segment *block_new(size_t block_bytes) noexcept nogil:
    cdef Segment *segment
    if block_bytes >= PAGED_FROM:
        segment = <Segment *>pages_map(block_bytes)
    else:
        segment = <Segment *>malloc(block_bytes)
    if segment != NULL:
        segment.block_bytes = block_bytes
    return segment


cdef void block_free(Segment *segment) noexcept nogil:
    if segment.block_bytes >= PAGED_FROM:
        pages_unmap(segment, segment.block_bytes)
    else:
        free(segment)


cdef void segment_reset(Segment *segment, int size_class) noexcept nogil:
    cdef size_t block_bytes = segment.block_bytes
    memset(segment, 0, sizeof(Segment))
    segment.block_bytes = block_bytes
    segment.size_class = size_class
    segment.data = <uint8_t *>segment + sizeof(Segment)
    segment.capacity = block_bytes - sizeof(Segment)
    if size_class >= 0:
        # The marks lie behind the data, so that a frame begins close to its segment's header.
        segment.capacity = class_capacity(size_class)
        segment.marks = <Mark *>(<uint8_t *>segment + block_bytes - sizeof(Mark) * (block_bytes // MARK_STRIDE))


cdef int class_for(size_t need_bytes, size_t wish_bytes) noexcept nogil:
    # The smallest with room for what is needed and, where one has it, for what is wished; -1: none.
    cdef int size_class = 0
    cdef size_t wanted = max(need_bytes, min(wish_bytes, class_capacity(SIZE_CLASSES - 1)))
    while size_class < SIZE_CLASSES and class_capacity(size_class) < wanted:
        size_class += 1
    return size_class if size_class < SIZE_CLASSES else -1


cdef size_t pool_block_bytes(size_t need_bytes, size_t wish_bytes) noexcept nogil:
    """What pool_take() would charge for the same."""
    cdef int size_class = class_for(need_bytes, wish_bytes)
    return sizeof(Segment) + need_bytes if size_class < 0 else class_block_bytes(size_class)


cdef size_t pool_capacity(size_t need_bytes, size_t wish_bytes) noexcept nogil:
    """The capacity of what pool_take() would give."""
    cdef int size_class = class_for(need_bytes, wish_bytes)
    return need_bytes if size_class < 0 else class_capacity(size_class)


cdef Segment *pool_take(Pool *pool, size_t need_bytes, size_t wish_bytes) noexcept nogil:
    """A segment with room for `need_bytes`, and for `wish_bytes` where a size class has it; NULL: no memory."""
    cdef int size_class = class_for(need_bytes, wish_bytes)
    cdef Segment *segment = NULL
    if size_class < 0:
        segment = block_new(sizeof(Segment) + need_bytes)
    else:
        mutex_lock(&pool.lock)
        segment = pool.spare[size_class]
        if segment != NULL:
            pool.spare[size_class] = segment.next
            pool.spare_bytes -= segment.block_bytes
            pool.spare_unused_bytes = min(pool.spare_unused_bytes, pool.spare_bytes)
        mutex_unlock(&pool.lock)
        if segment == NULL:
            segment = block_new(class_block_bytes(size_class))
    if segment != NULL:
        segment_reset(segment, size_class)
        add_fetch(&pool.used_bytes, <int64_t>segment.block_bytes)
    return segment


cdef void pool_release(Pool *pool, Segment *segment) noexcept nogil:
    """Gives a segment back; the last pin calls it for one that left its log before."""
    cdef bint kept = False
    add_fetch(&pool.used_bytes, -<int64_t>segment.block_bytes)
    if segment.size_class >= 0:
        mutex_lock(&pool.lock)
        kept = pool.spare_bytes + segment.block_bytes <= SPARE_MAX
        if kept:
            segment.next = pool.spare[segment.size_class]
            pool.spare[segment.size_class] = segment
            pool.spare_bytes += segment.block_bytes
        mutex_unlock(&pool.lock)
    if not kept:
        block_free(segment)


cdef void pool_ease(Pool *pool) noexcept nogil:
    """Gives the system what has lain spare since the last call, largest first. Called from time to time."""
    cdef int size_class = SIZE_CLASSES - 1
    cdef size_t eased_bytes = 0
    cdef Segment *segment
    mutex_lock(&pool.lock)
    while size_class >= 0 and eased_bytes < pool.spare_unused_bytes:
        segment = pool.spare[size_class]
        if segment == NULL:
            size_class -= 1
            continue
        pool.spare[size_class] = segment.next
        eased_bytes += segment.block_bytes
        block_free(segment)
    pool.spare_bytes -= eased_bytes
    pool.spare_unused_bytes = pool.spare_bytes
    mutex_unlock(&pool.lock)


cdef size_t pool_spare_bytes(Pool *pool) noexcept nogil:
    """What is kept for reuse now."""
    cdef size_t spare_bytes
    mutex_lock(&pool.lock)
    spare_bytes = pool.spare_bytes
    mutex_unlock(&pool.lock)
    return spare_bytes


cdef Segment *pool_grow(Pool *pool, Segment *segment, size_t need_bytes, size_t kept_bytes) noexcept nogil:
    """A segment with room for `need_bytes` that begins with the `kept_bytes` of this one, which is gone then, or is
    itself larger; NULL in place of the old one: a new one. NULL: no memory, and the old one is untouched."""
    cdef Segment *grown
    cdef size_t had_bytes
    if segment != NULL and segment.size_class < 0 and segment.block_bytes >= PAGED_FROM:
        had_bytes = segment.block_bytes
        grown = <Segment *>pages_grow(segment, had_bytes, sizeof(Segment) + need_bytes)
        if grown != NULL:
            grown.block_bytes = sizeof(Segment) + need_bytes
            segment_reset(grown, -1)
            add_fetch(&pool.used_bytes, <int64_t>(grown.block_bytes - had_bytes))
        return grown
    grown = pool_take(pool, need_bytes, 0)
    if grown != NULL and segment != NULL:
        memcpy(grown.data, segment.data, kept_bytes)
        pool_release(pool, segment)
    return grown
