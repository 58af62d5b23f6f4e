# The C side of the load, as load.h and histogram.h have it.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED


cdef extern from "load/histogram.h" nogil:
    struct histogram:
        uint64_t count
        uint64_t max

    uint64_t histogram_value_at(const histogram *h, double fraction)


cdef extern from "load/load.h" nogil:
    struct load_plan:
        # Where.
        const char *host
        int port
        const char *path
        const char *query
        const char *headers
        # Who.
        int subscribers
        int publishers
        int topics
        int visitors
        int slow
        int stalled
        double stay_seconds
        double slow_bytes_per_second
        # What, and when.
        uint32_t messages
        double seconds
        size_t least_bytes
        size_t most_bytes
        bint text
        double rate
        uint32_t window
        int connecting
        double ramp_up_seconds
        double patience_seconds
        int receive_buffer_bytes

    enum load_step:
        LOAD_NEW
        LOAD_CONNECTING
        LOAD_RESTING
        LOAD_PUBLISHING
        LOAD_CLOSED

    struct load_report:
        load_step step
        uint64_t connections, connect_ns, connect_cpu_ns
        uint64_t publish_ns, publish_wall_ns, publish_cpu_ns
        uint64_t published, delivered, delivered_bytes
        uint64_t lost, duplicated, reordered, malformed
        uint64_t departed, close_code
        uint64_t visits, failed_visits
        uint64_t slow_received, slow_missed, slow_departed
        uint64_t stalled_received, stalled_departed
        char fault[120]
        histogram upgrade
        histogram latency
        histogram everybody

    struct load:
        pass

    load *load_new(const load_plan *plan)
    void load_free(load *load)
    int load_connect(load *load)
    int load_rest(load *load, double seconds)
    int load_publish(load *load)
    void load_close(load *load)
    void load_stop(load *load)
    void load_report_now(load *load, load_report *out)
    const char *load_error(const load *load)


cdef class Load:
    cdef load *_load
    cdef readonly object plan
    # What the plan of the C side points to.
    cdef tuple _texts
    # One thread at a time carries out a step; `_closed` once there is nothing left to do.
    cdef object _stepping
    cdef bint _closed
    # The last step in their order that was begun.
    cdef load_step _reached

    cdef object _check_order(self, load_step step)
    cdef object _carry_out(self, load_step step, double seconds)
    cdef object _report(self, const load_report *now)
