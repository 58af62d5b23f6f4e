"""The engine for other Cython modules, without the GIL: `from fastfan cimport ...`.

    fastfan_check_abi()                                     # once, when the module is imported
    cdef fastfan_topic *topic = fastfan_topic_handle(engine.topic("/a"))
    with nogil:
        offset = fastfan_publish(topic, data, data_bytes, False)

Contract. fastfan_check_abi() raises ImportError where this module is not the one that the importer was compiled
against. A handle is borrowed: it is valid while the Topic object lives, so keep a reference to that. Every function
that is `nogil` may be called from any thread, one of Python's or not, and never takes the GIL; it may wait for a lock
that is held for as long as appending takes, and waits for nothing else. Bytes given to it are copied: they are the
caller's again on return. After the engine's close(), and in a child that was forked while it was open, publishing is
-ESHUTDOWN.

Nothing here needs a header, or a library to link with: the functions are reached through the module's table, which
Cython checks signature by signature. Fields of fastfan_topic are nobody's business.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t


cdef enum:
    FASTFAN_ABI = 1     # goes up with any change that what is compiled against this would not notice by itself

cdef struct fastfan_topic:
    void *topic
    void *engine

cdef struct fastfan_message:
    const void *data
    size_t data_bytes
    bint text

# With the GIL. The handle of a fastfan.Topic; raises MisuseError for anything else, EngineClosed after close().
cdef fastfan_topic *fastfan_topic_handle(object topic) except NULL
# Appends one message: binary, or text, which must be UTF-8. Its offset, from 1; or, with nothing appended,
#   -ENOBUFS    the memory limit: try again later, see fastfan_roomy()
#   -ENOMEM     the system has no memory
#   -EILSEQ     it is to be text, and is not UTF-8
#   -ESHUTDOWN  the engine was closed, or is another process's
cdef int64_t fastfan_publish(fastfan_topic *topic, const void *data, size_t data_bytes, bint text) noexcept nogil
# The same of a batch, in one step and all or nothing (without memory from the system what fitted is appended). The last
# one's offset.
cdef int64_t fastfan_publish_many(fastfan_topic *topic, const fastfan_message *messages, size_t count) noexcept nogil
# Whether more should be published now: the topic's publishers are not held back, and memory is not short.
cdef bint fastfan_roomy(fastfan_topic *topic) noexcept nogil
# Names this life of the topic's log; and the offset that the next message will have.
cdef uint64_t fastfan_epoch(fastfan_topic *topic) noexcept nogil
cdef uint64_t fastfan_next_offset(fastfan_topic *topic) noexcept nogil
# How many get what is published.
cdef uint64_t fastfan_subscribers(fastfan_topic *topic) noexcept nogil
# FASTFAN_ABI as this module was compiled.
cdef int fastfan_abi() noexcept nogil


cdef inline int fastfan_check_abi() except -1:
    if fastfan_abi() != FASTFAN_ABI:
        raise ImportError(f"compiled against ABI {FASTFAN_ABI} of fastfan, which has ABI {fastfan_abi()} here; "
                          "compile it again")
    return 0
