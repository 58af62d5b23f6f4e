"""Passes over the cursors of topics whose logs have grown (rules in _fanout.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport Sink, View
from fastfan._loop cimport Loop

cdef void fanout_slice(Loop *loop) noexcept nogil
cdef void fanout_serve_again(Loop *loop, Sink *sink) noexcept nogil
