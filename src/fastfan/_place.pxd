"""Places in a log where a cursor that jumps may go on (rules in _place.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._log cimport Log
from fastfan._pool cimport Segment


cdef struct Place:
    # Where a frame begins.
    Segment *segment            # NULL: nowhere
    uint64_t at
    uint64_t position
    uint64_t offset             # of its message

cdef struct Least:
    # What a frame must have for a subscriber that goes on there to be within its bounds; zeros allow all.
    uint64_t position
    uint64_t offset
    uint64_t time_ns

cdef bint place_newest(Log *log, Place *place) noexcept nogil
cdef bint place_oldest(Log *log, Least *least, Place *place) noexcept nogil
