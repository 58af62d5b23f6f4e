"""Core: what lives as long as the engine or any of its topics, whichever goes last."""

import os

from fastfan._pool cimport pool_clear, pool_init
from fastfan._loop cimport LANE_BYTES, loop_clear, loop_init

from fastfan.errors import EngineClosed, MisuseError
from fastfan.memory import default_memory_limit


# Seconds: a century, which nanoseconds in 64 bits hold with room to spare.
cdef double LONGEST = 3.2e9


cdef class Core:
    """The base of Engine; of no use by itself."""

    def __cinit__(self, *, int io_threads=0, max_memory_bytes=None, double write_timeout=10.0,
                  double close_deadline=5.0, int notsent_bytes=65536, lane_bytes=131072):
        cdef int result
        if io_threads != 0:
            raise MisuseError(f"io_threads={io_threads} is not built yet; leave it at 0 and call turn()")
        if max_memory_bytes is None:
            max_memory_bytes = default_memory_limit()
        if max_memory_bytes < 1 << 20:
            raise MisuseError(f"max_memory_bytes={max_memory_bytes} is below 1048576; give the engine at least 1 MiB")
        if not (0 < write_timeout <= LONGEST and 0 < close_deadline <= LONGEST):
            raise MisuseError(f"write_timeout={write_timeout} and close_deadline={close_deadline} must be above 0 s "
                              f"and at most {LONGEST:g} s")
        if notsent_bytes < 0:
            raise MisuseError(f"notsent_bytes={notsent_bytes} is below 0; give bytes, or 0 for no limit")
        if lane_bytes < 0:
            raise MisuseError(f"lane_bytes={lane_bytes} is below 0; give bytes, or 0 for no lane")
        pool_init(&self.pool, max_memory_bytes)
        result = loop_init(&self.loop, &self.pool, to_ns(write_timeout), to_ns(close_deadline), notsent_bytes,
                           min(lane_bytes, LANE_BYTES), int.from_bytes(os.urandom(8), "little"))
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        self.ready = True

    def __dealloc__(self):
        if self.ready:
            loop_clear(&self.loop)
            pool_clear(&self.pool)

    cdef int check_open(self) except -1:
        if self.closed:
            raise EngineClosed("the engine is closed; make a new one")
        return 0
