"""Where a cursor that jumps goes on: the newest message, or the oldest within given bounds.

Position, offset and time all grow along the log. So the frame is found by halves: the segment by its first frame, then
the page by its mark, then the frame by a walk over the headers of one page (MARK_STRIDE bytes). A time is known for a
mark only; the frames up to the next mark count as being as old. It is looked for when somebody jumps, and once for all
who jump at that moment.

Under the log's lock. What is found stays for as long as a cursor stands before it.
"""

from fastfan._log cimport frame_size_at
from fastfan._pool cimport MARK_STRIDE, Mark


cdef bint place_newest(Log *log, Place *place) noexcept nogil:
    """The last frame. False: the log is empty."""
    cdef Segment *segment = log.tail
    cdef uint64_t at = 0
    cdef uint64_t size
    if segment == NULL:
        return False
    if segment.marks != NULL:
        at = segment.marks[(segment.end - 1) // MARK_STRIDE].at
    size = frame_size_at(segment.data + at)
    while at + size < segment.end:
        at += size
        size = frame_size_at(segment.data + at)
    set_place(place, segment, at, segment.frames - 1)
    return True


cdef bint place_oldest(Log *log, Least *least, Place *place) noexcept nogil:
    """The first frame that has what it must; where none has, the newest. False: the log is empty."""
    cdef Segment *segment = log.head
    cdef Place found
    if not place_newest(log, place):
        return False
    while segment.next != NULL and not has(least, segment.next, 0, 0, segment.next.first_time_ns):
        segment = segment.next
    # In this segment, or the first of the next one.
    if not find_in(segment, least, &found):
        if segment.next == NULL:
            return True
        set_place(&found, segment.next, 0, 0)
    if found.position < place.position:
        place[0] = found
    return True


cdef bint find_in(Segment *segment, Least *least, Place *found) noexcept nogil:
    cdef uint64_t pages = (segment.end + MARK_STRIDE - 1) // MARK_STRIDE
    cdef uint64_t page = 0
    cdef uint64_t at = 0
    cdef uint64_t index = 0
    cdef uint64_t time_ns = segment.first_time_ns
    cdef uint64_t end = segment.end
    cdef Mark *mark = segment.marks
    if mark != NULL:
        while page + 1 < pages and not has(least, segment, mark[1].at, mark[1].index, mark[1].time_ns):
            page += 1
            mark += 1
        at, index, time_ns = mark.at, mark.index, mark.time_ns
        if page + 1 < pages:
            end = mark[1].at
    while at < end:
        if has(least, segment, at, index, time_ns):
            set_place(found, segment, at, index)
            return True
        at += frame_size_at(segment.data + at)
        index += 1
    if at < segment.end:
        # The next mark's: the first whose time is known to be young enough.
        set_place(found, segment, at, index)
        return True
    return False


cdef inline bint has(Least *least, Segment *segment, uint64_t at, uint64_t index, uint64_t time_ns) noexcept nogil:
    return (segment.base + at >= least.position and segment.first_offset + index >= least.offset
            and time_ns >= least.time_ns)


cdef inline void set_place(Place *place, Segment *segment, uint64_t at, uint64_t index) noexcept nogil:
    place.segment, place.at = segment, at
    place.position, place.offset = segment.base + at, segment.first_offset + index
