"""The Python face of the engine (rules in _engine.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._core cimport Core


cdef class Engine(Core):
    cdef object topics          # name -> Topic, weak: every Topic that is alive
    cdef dict kept              # name -> Topic: those with clients, and those that linger
    cdef bint sweeping          # `turning` is sweep_topics()'s, which a turn waits for
    cdef object naming          # a lock: two threads that name a new topic mean the same one
    cdef object __weakref__
