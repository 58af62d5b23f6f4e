"""What one connection may send in a second: control frames, and a subscriber's messages, which nobody wants.

    ──┬──────── a second ────────┬── ... nothing ...  ──┬──────── a second ────────┬──
      │ the first frame begins it│                      │ so does the next one     │

Rules kept here:
- A second begins with the first frame that falls into none, so exactly the limit passes in each.
- What piled up in a socket while this process stood still comes all at once, and is held against nobody: for a second
  after such a pause nothing is judged. (Nor while a loop has so much to do that its ticks are over a second late.)
Called by the I/O thread that owns the connection.
"""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport CAUSE_NONE, CAUSE_SENT_TOO_MUCH, CAUSE_TOO_MANY_CONTROLS
from fastfan._system cimport clock_ns

cdef enum:
    SECOND_NS = 1_000_000_000   # four of the longest ticks: a loop that is merely busy is not that late
    HEADER_BYTES = 6            # of a client's frame, at least: an empty one counts as well


cdef void rates_note_pause(Loop *loop) noexcept nogil:
    """The loop has just looked at the clock."""
    if loop.ticking and loop.now_ns - loop.last_tick_ns > SECOND_NS:
        loop.resumed_ns = loop.now_ns


cdef bint has_just_resumed(Loop *loop) noexcept nogil:
    """Asked when somebody is over a limit: by the clock itself, for the pause may be one since the loop last looked."""
    cdef uint64_t now_ns = clock_ns()
    if now_ns - loop.now_ns > SECOND_NS:
        loop.resumed_ns = now_ns
    return now_ns - loop.resumed_ns < SECOND_NS


cdef inline void begin_second(Loop *loop, Sink *sink) noexcept nogil:
    if loop.now_ns - sink.second_ns >= SECOND_NS:
        sink.second_ns, sink.controls, sink.ignored_bytes = loop.now_ns, 0, 0


cdef Cause rates_note_control(Loop *loop, Sink *sink) noexcept nogil:
    """A ping or a pong came. CAUSE_NONE: it may."""
    begin_second(loop, sink)
    sink.controls += 1
    if loop.max_controls == 0 or sink.controls <= loop.max_controls or has_just_resumed(loop):
        return CAUSE_NONE
    return CAUSE_TOO_MANY_CONTROLS


cdef Cause rates_note_ignored(Loop *loop, Sink *sink, uint64_t frames, uint64_t payload_bytes) noexcept nogil:
    """A subscriber sent so many frames, or with 0 more of one. CAUSE_NONE: it may."""
    begin_second(loop, sink)
    sink.ignored_bytes += frames * HEADER_BYTES + payload_bytes
    if loop.max_ignored_bytes == 0 or sink.ignored_bytes <= loop.max_ignored_bytes or has_just_resumed(loop):
        return CAUSE_NONE
    return CAUSE_SENT_TOO_MUCH
