"""The Python face of the engine (rules in _engine.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._core cimport Core
from fastfan._cursor cimport Policy
from fastfan._mailbox cimport Command
from fastfan._names cimport Names
from fastfan._topic cimport Topic


cdef struct Bounds:
    # Of a topic, as topic() was given them.
    Policy policy
    uint64_t lag_bytes
    uint64_t lag_messages   # 0: any
    uint64_t lag_age_ns     # 0: any
    uint64_t pace_bytes

cdef class Engine(Core):
    cdef Names topics           # every Topic that is alive
    cdef dict kept              # Topic -> None, in order: those with clients, and those that linger
    cdef object naming          # a lock: two threads that name a new topic mean the same one
    cdef bint made
    cdef object __weakref__
    cdef object _named(self, str name, Bounds *bounds)
    cdef object _sweep(self, uint64_t linger_ns, uint64_t most)
    cdef object _attach(self, Topic topic, int role)
    cdef int _post(self, uint64_t token, Command *command) except -1
