"""The table of connections: slots that never move, tokens that outlive them (rules in _table.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._cursor cimport Sink
from fastfan._sync cimport mutex_t

cdef enum:
    SLAB_SINKS = 256
    SLABS_MAX = 4096    # a million connections for each loop
    LOOP_SHIFT = 24     # in a token: below it the slot, above it the loop's number
    SLOT_MASK = (1 << 24) - 1

cdef struct Table:
    mutex_t lock                # over free and high_slot
    uint32_t loop               # whose connections they are
    Sink *slabs[SLABS_MAX]
    Sink *free                  # linked by grave_next
    uint64_t high_slot          # slots below it exist; release/acquire
    uint64_t used               # connections, those attached and not yet started included

cdef void table_init(Table *table, uint32_t loop) noexcept nogil
cdef void table_clear(Table *table) noexcept nogil
cdef Sink *table_new(Table *table) noexcept nogil
cdef void table_drop(Table *table, Sink *sink) noexcept nogil
cdef Sink *table_at(Table *table, uint32_t slot) noexcept nogil
cdef Sink *table_find(Table *table, uint64_t token) noexcept nogil
