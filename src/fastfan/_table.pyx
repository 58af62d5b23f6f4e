"""Connections are named by a token, never by a descriptor: the kernel reuses a descriptor's number at once.

A token is the slot's number, above it the number of the loop that owns the connection, and above that the slot's
generation, which grows with every reuse; so a token of a connection that is gone finds nothing. Slots lie in slabs
that never move: a sink's address holds while it is in use. Any thread may take a slot; the loop that owns the
connection gives it back and is the only one to look tokens up.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastfan._cursor cimport ATTACHED, FREE
from fastfan._sync cimport add_fetch, load_acquire, mutex_destroy, mutex_init, mutex_lock, mutex_unlock, store_release


cdef void table_init(Table *table, uint32_t loop) noexcept nogil:
    memset(table, 0, sizeof(Table))
    table.loop = loop
    mutex_init(&table.lock)


cdef void table_clear(Table *table) noexcept nogil:
    cdef uint64_t slab
    for slab in range(table.high_slot // SLAB_SINKS):
        free(table.slabs[slab])
    mutex_destroy(&table.lock)


cdef bint add_slab(Table *table) noexcept nogil:
    # Under the lock. The lowest slot comes first from the free list.
    cdef uint64_t first = table.high_slot
    cdef Sink *slab
    cdef int index
    if first // SLAB_SINKS == SLABS_MAX:
        return False
    slab = <Sink *>calloc(SLAB_SINKS, sizeof(Sink))
    if slab == NULL:
        return False
    for index in range(SLAB_SINKS - 1, -1, -1):
        slab[index].token = (<uint64_t>1 << 32) + (<uint64_t>table.loop << LOOP_SHIFT) + first + <uint64_t>index
        slab[index].fd = -1
        slab[index].grave_next = table.free
        table.free = &slab[index]
    table.slabs[first // SLAB_SINKS] = slab
    store_release(&table.high_slot, first + SLAB_SINKS)
    return True


cdef Sink *table_new(Table *table) noexcept nogil:
    """A blank sink in state ATTACHED with a token of its own; NULL: no memory, or a million are in use."""
    cdef Sink *sink = NULL
    mutex_lock(&table.lock)
    if table.free != NULL or add_slab(table):
        sink = table.free
        table.free = sink.grave_next
    mutex_unlock(&table.lock)
    if sink != NULL:
        memset(&sink.topic, 0, <size_t>(<char *>(sink + 1) - <char *>&sink.topic))
        sink.fd, sink.loop, sink.state = -1, <unsigned char>table.loop, ATTACHED
        add_fetch(&table.used, 1)
    return sink


cdef void table_drop(Table *table, Sink *sink) noexcept nogil:
    """Gives the slot back; its next user has another token."""
    cdef uint32_t generation
    sink.state, sink.started = FREE, False
    # Generations wrap within 31 bits, so that a token stays a positive number everywhere; 0 is no generation.
    generation = (<uint32_t>(sink.token >> 32) + 1) & 0x7FFFFFFF
    sink.token = (<uint64_t>max(generation, <uint32_t>1) << 32) | <uint32_t>sink.token
    add_fetch(&table.used, -1)
    mutex_lock(&table.lock)
    sink.grave_next = table.free
    table.free = sink
    mutex_unlock(&table.lock)


cdef Sink *table_at(Table *table, uint32_t slot) noexcept nogil:
    return &table.slabs[slot // SLAB_SINKS][slot % SLAB_SINKS]


cdef Sink *table_find(Table *table, uint64_t token) noexcept nogil:
    """The connection of that name, or NULL when it is gone."""
    cdef uint32_t slot = <uint32_t>token & SLOT_MASK
    cdef Sink *sink
    if slot >= load_acquire(&table.high_slot):
        return NULL
    sink = table_at(table, slot)
    return sink if sink.token == token and sink.state != FREE else NULL
