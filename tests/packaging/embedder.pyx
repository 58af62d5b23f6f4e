# cython: language_level=3
"""An embedder, as somebody would write one: a native thread of its own that publishes, and every function once."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free

from fastfan cimport (
    FASTFAN_ABI, fastfan_abi, fastfan_check_abi, fastfan_epoch, fastfan_message, fastfan_next_offset, fastfan_publish,
    fastfan_publish_many, fastfan_roomy, fastfan_subscribers, fastfan_topic, fastfan_topic_handle,
)


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *thread, void *attributes, void *(*run)(void *) noexcept nogil, void *of)
    int pthread_join(pthread_t thread, void **result)

fastfan_check_abi()


cdef struct Work:
    fastfan_topic *topic
    int count
    int64_t last


cdef void *publish_all(void *of) noexcept nogil:
    cdef Work *work = <Work *>of
    cdef char text[32]
    cdef int number
    cdef int size
    for number in range(work.count):
        size = snprintf(text, sizeof(text), "%d", number)
        work.last = fastfan_publish(work.topic, text, size, number % 2)
        if work.last < 0:
            break
    return NULL


def publish_from_a_thread_of_its_own(topic, int count):
    """Holds the GIL until the thread has ended: it must not need it."""
    cdef Work work
    cdef pthread_t thread
    work.topic, work.count, work.last = fastfan_topic_handle(topic), count, 0
    if pthread_create(&thread, NULL, publish_all, &work) != 0:
        raise OSError("no thread")
    pthread_join(thread, NULL)
    return work.last


def publish(topic, bytes data, bint text=False):
    return fastfan_publish(fastfan_topic_handle(topic), <const char *>data, len(data), text)


def publish_many(topic, list items, bint text=False):
    cdef fastfan_topic *handle = fastfan_topic_handle(topic)
    cdef fastfan_message *messages = <fastfan_message *>calloc(len(items) + 1, sizeof(fastfan_message))
    cdef size_t count = len(items)
    cdef size_t index
    for index in range(count):
        messages[index].data, messages[index].data_bytes = <const char *>items[index], len(items[index])
        messages[index].text = text
    with nogil:
        offset = fastfan_publish_many(handle, messages, count)
    free(messages)
    return offset


cdef class Held:
    """A handle that outlives the engine's close, with its Topic."""

    cdef object topic
    cdef fastfan_topic *handle

    def __init__(self, topic):
        self.topic, self.handle = topic, fastfan_topic_handle(topic)

    def publish(self, bytes data):
        return fastfan_publish(self.handle, <const char *>data, len(data), False)

    def look(self):
        return (fastfan_epoch(self.handle), fastfan_next_offset(self.handle), fastfan_subscribers(self.handle),
                bool(fastfan_roomy(self.handle)))


def abi():
    return FASTFAN_ABI, fastfan_abi()
