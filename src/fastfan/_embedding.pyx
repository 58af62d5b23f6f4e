"""The functions that other Cython modules reach (contract in _embedding.pxd).

Each module of this package links its own copy of our C, and so would an embedder's: static data would not be the same.
So they come through here, and the engine's own structs stay behind the handle.
"""

from libc.errno cimport EILSEQ, ENOBUFS, ENOMEM, ESHUTDOWN
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from fastfan._codec cimport is_utf8
from fastfan._cursor cimport TopicState
from fastfan._log cimport FRAME_BINARY, FRAME_TEXT
from fastfan._loop cimport Shared
from fastfan._pool cimport pool_short
from fastfan._sync cimport load_acquire
from fastfan._topic cimport APPENDED, OVER_LIMIT, Appended, Batch, Piece, Topic, append_batch

from fastfan.errors import MisuseError


cdef enum:
    FEW = 32    # as many messages need no memory of their own


cdef int fastfan_abi() noexcept nogil:
    return FASTFAN_ABI


cdef fastfan_topic *fastfan_topic_handle(object topic) except NULL:
    if not isinstance(topic, Topic):
        raise MisuseError(f"{type(topic).__name__} is no Topic; take one from an engine's topic()")
    (<Topic>topic).core.check_open()
    return &(<Topic>topic).handle


cdef inline TopicState *state_of(fastfan_topic *topic) noexcept nogil:
    return <TopicState *>topic.topic


cdef inline bint is_over(fastfan_topic *topic) noexcept nogil:
    cdef Shared *shared = <Shared *>topic.engine
    return load_acquire(&shared.closed) or load_acquire(&shared.orphaned)


cdef int64_t fastfan_publish(fastfan_topic *topic, const void *data, size_t data_bytes, bint text) noexcept nogil:
    cdef fastfan_message message
    message.data, message.data_bytes, message.text = data, data_bytes, text
    return fastfan_publish_many(topic, &message, 1)


cdef int64_t fastfan_publish_many(fastfan_topic *topic, const fastfan_message *messages, size_t count) noexcept nogil:
    cdef Piece few[FEW]
    cdef Piece *pieces = few
    cdef int64_t result
    if count > FEW:
        pieces = <Piece *>malloc(count * sizeof(Piece))
        if pieces == NULL:
            return -ENOMEM
    result = append(topic, messages, count, pieces)
    if pieces != few:
        free(pieces)
    return result


cdef int64_t append(fastfan_topic *topic, const fastfan_message *messages, size_t count, Piece *pieces) noexcept nogil:
    cdef Batch batch
    cdef Appended outcome
    cdef size_t index
    if is_over(topic):
        return -ESHUTDOWN
    for index in range(count):
        if messages[index].text and not is_utf8(<const uint8_t *>messages[index].data, messages[index].data_bytes):
            return -EILSEQ
        pieces[index].data, pieces[index].data_bytes = <const uint8_t *>messages[index].data, messages[index].data_bytes
        pieces[index].opcode = FRAME_TEXT if messages[index].text else FRAME_BINARY
    batch.pieces, batch.count = pieces, count
    outcome = append_batch(state_of(topic), &batch, True)
    if outcome == APPENDED:
        return <int64_t>batch.last_offset
    return -ENOBUFS if outcome == OVER_LIMIT else -ENOMEM


cdef bint fastfan_roomy(fastfan_topic *topic) noexcept nogil:
    return not load_acquire(&state_of(topic).paced) and not pool_short(&(<Shared *>topic.engine).pool)


cdef uint64_t fastfan_epoch(fastfan_topic *topic) noexcept nogil:
    return state_of(topic).log.epoch


cdef uint64_t fastfan_next_offset(fastfan_topic *topic) noexcept nogil:
    return load_acquire(&state_of(topic).log.next_offset)


cdef uint64_t fastfan_subscribers(fastfan_topic *topic) noexcept nogil:
    return load_acquire(&state_of(topic).listeners)
