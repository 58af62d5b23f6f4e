"""The load as Python has it: steps without the GIL, and a report at any moment."""

from cpython.exc cimport PyErr_SetFromErrno
from libc.stdlib cimport free, malloc

from threading import Lock

from fastfan.errors import MisuseError
from fastfan.load.errors import LoadError, LoadStopped
from fastfan.load.report import Percentiles, Report, Step

# What the pictures of latencies are drawn from, and what people quote.
cdef tuple FRACTIONS = (0.5, 0.9, 0.99, 0.999)


cdef load_plan _plan_to_c(plan, tuple texts):
    cdef load_plan c
    c.host, c.path, c.query, c.headers = texts
    c.port = plan.port
    c.subscribers, c.publishers, c.topics = plan.subscribers, plan.publishers, plan.topics
    c.visitors, c.slow, c.stalled = plan.visitors, plan.slow, plan.stalled
    c.stay_seconds, c.slow_bytes_per_second = plan.stay_seconds, plan.slow_bytes_per_second
    c.messages, c.seconds = plan.messages or 0, plan.seconds or 0.0
    c.least_bytes, c.most_bytes, c.text = plan.least_bytes, plan.most_bytes, plan.text
    c.rate, c.window, c.connecting = plan.rate, plan.window, plan.connecting
    c.ramp_up_seconds = plan.ramp_up_seconds
    # At a slow rate the time between two messages is no lack of progress.
    c.patience_seconds = max(plan.patience_seconds, 2 / plan.rate if plan.rate else 0)
    c.receive_buffer_bytes = plan.receive_buffer_bytes
    return c


cdef tuple _texts(plan):
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    headers = list(plan.headers)
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", f"{host}:{plan.port}"))
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return tuple(text.encode("ascii") for text in (plan.host, plan.path, plan.query, lines))


cdef object _percentiles(const histogram *h):
    return Percentiles(h.count, *[histogram_value_at(h, fraction) for fraction in FRACTIONS], h.max)


cdef class Load:
    def __cinit__(self, plan):
        self.plan = plan
        self._texts = _texts(plan)
        self._stepping = Lock()
        cdef load_plan c = _plan_to_c(plan, self._texts)
        self._load = load_new(&c)
        if self._load is NULL:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self._load is not NULL:
            load_free(self._load)

    def connect(self):
        self._carry_out(LOAD_CONNECTING, 0)

    def rest(self, double seconds):
        if not 0 <= seconds <= 1e6:
            raise MisuseError(f"seconds={seconds:g} is not within 0 and 1000000")
        self._carry_out(LOAD_RESTING, seconds)

    def publish(self):
        self._carry_out(LOAD_PUBLISHING, 0)

    def close(self):
        if not self._closed:
            self._carry_out(LOAD_CLOSED, 0)

    def stop(self):
        load_stop(self._load)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def report(self):
        cdef load_report *now = <load_report *>malloc(sizeof(load_report))
        if now is NULL:
            raise MemoryError
        try:
            with nogil:
                load_report_now(self._load, now)
            return self._report(now)
        finally:
            free(now)

    cdef object _carry_out(self, load_step step, double seconds):
        cdef int result = 0
        if not self._stepping.acquire(blocking=False):
            raise MisuseError("another thread is in a step of this load; only stop() and report() may be called then")
        try:
            self._check_order(step)
            self._closed = step == LOAD_CLOSED
            self._reached = max(self._reached, step)
            with nogil:
                if step == LOAD_CONNECTING:
                    result = load_connect(self._load)
                elif step == LOAD_RESTING:
                    result = load_rest(self._load, seconds)
                elif step == LOAD_PUBLISHING:
                    result = load_publish(self._load)
                else:
                    load_close(self._load)
        finally:
            self._stepping.release()
        if result == -ECANCELED:
            raise LoadStopped("stopped")
        if result < 0:
            raise LoadError(load_error(self._load).decode(errors="replace"))

    cdef object _check_order(self, load_step step):
        if self._closed:
            raise MisuseError("the load is closed; make another one")
        if step == LOAD_CONNECTING and self._reached != LOAD_NEW:
            raise MisuseError("connect() was called before, and it comes once; make another load")
        if step == LOAD_PUBLISHING and self._reached == LOAD_PUBLISHING:
            raise MisuseError("publish() was called before, and it comes once; make another load")
        if step in (LOAD_RESTING, LOAD_PUBLISHING) and self._reached == LOAD_NEW:
            raise MisuseError("there are no connections yet; call connect() first")

    cdef object _report(self, const load_report *now):
        return Report(
            step=Step(<int>now.step),
            connections=now.connections,
            connect_seconds=now.connect_ns / 1e9,
            connect_cpu_seconds=now.connect_cpu_ns / 1e9,
            publish_seconds=now.publish_ns / 1e9,
            publish_wall_seconds=now.publish_wall_ns / 1e9,
            publish_cpu_seconds=now.publish_cpu_ns / 1e9,
            published=now.published,
            delivered=now.delivered,
            delivered_bytes=now.delivered_bytes,
            lost=now.lost,
            duplicated=now.duplicated,
            reordered=now.reordered,
            malformed=now.malformed,
            departed=now.departed,
            close_code=now.close_code or None,
            visits=now.visits,
            failed_visits=now.failed_visits,
            slow_received=now.slow_received,
            slow_missed=now.slow_missed,
            slow_departed=now.slow_departed,
            stalled_received=now.stalled_received,
            stalled_departed=now.stalled_departed,
            upgrade=_percentiles(&now.upgrade),
            latency=_percentiles(&now.latency),
            everybody=_percentiles(&now.everybody),
            fault=now.fault.decode(errors="replace"),
        )
