"""The Python face of the engine (rules in _engine.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._core cimport Core
from fastfan._mailbox cimport Command


cdef class Engine(Core):
    cdef object topics          # name -> Topic, weak: every Topic that is alive
    cdef dict kept              # name -> Topic: those with clients, and those that linger
    cdef object naming          # a lock: two threads that name a new topic mean the same one
    cdef bint made
    cdef object __weakref__
    cdef int _post(self, uint64_t token, Command *command) except -1
