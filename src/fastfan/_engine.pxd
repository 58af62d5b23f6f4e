"""The Python face of the engine (rules in _engine.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport TopicState
from fastfan._log cimport Partial as PartialState
from fastfan._log cimport Pool
from fastfan._loop cimport Loop


cdef struct Piece:
    # One message to append; the bytes are its owner's.
    const uint8_t *data
    size_t data_bytes
    uint8_t opcode

cdef class Engine:
    cdef Pool pool
    cdef Loop loop
    cdef bint ready             # pool and loop are set up
    cdef bint closed
    cdef uint64_t turning
    cdef object topics          # name -> Topic, weak: every Topic that is alive
    cdef dict kept              # name -> Topic: those with clients, and those that linger
    cdef object __weakref__
    cdef int check_open(self) except -1

cdef class Topic:
    cdef TopicState state
    cdef readonly Engine engine
    cdef readonly str name
    cdef object __weakref__
    cdef uint64_t append(self, Piece *pieces, size_t count, bint strict) except 0

cdef class Partial:
    cdef PartialState state
    cdef Topic topic
    cdef bint text
