"""What the shell wants done with a connection (see _orders.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._loop cimport Loop
from fastfan._mailbox cimport Command

cdef void orders_execute(Loop *loop, Command *command) noexcept nogil
cdef void orders_refuse(Loop *loop, Command *command) noexcept nogil
