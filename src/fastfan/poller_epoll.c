#include "poller.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 512 };

static int watch(struct poller *poller, int fd, uint64_t token, uint32_t interest) {
    struct epoll_event event = {.events = interest, .data.u64 = token};
    return epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int poller_open(struct poller *poller) {
    poller->set = NULL;
    poller->fd = epoll_create1(EPOLL_CLOEXEC);
    poller->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    poller->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int result = -errno;
    if (poller->fd >= 0 && poller->wake_fd >= 0 && poller->tick_fd >= 0) {
        result = watch(poller, poller->wake_fd, POLLER_WAKE, EPOLLIN);
        if (result == 0) result = watch(poller, poller->tick_fd, POLLER_TICK, EPOLLIN);
    }
    if (result < 0) poller_close(poller);
    return result;
}

void poller_close(struct poller *poller) {
    int *owned[] = {&poller->fd, &poller->wake_fd, &poller->tick_fd};
    for (int i = 0; i < 3; i++) {
        if (*owned[i] >= 0) close(*owned[i]);
        *owned[i] = -1;
    }
}

int poller_add(struct poller *poller, int fd, uint64_t token) {
    return watch(poller, fd, token, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int poller_remove(struct poller *poller, int fd) {
    struct epoll_event unused = {0};
    return epoll_ctl(poller->fd, EPOLL_CTL_DEL, fd, &unused) == 0 ? 0 : -errno;
}

/* The kernel sees by itself that a socket is used up. */
void poller_rearm(struct poller *poller, int fd, uint32_t ready) {
    (void)poller;
    (void)fd;
    (void)ready;
}

int notifier_open(int *signal_fd) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *signal_fd = fd;
    return fd < 0 ? -errno : fd;
}

void notifier_signal(int signal_fd) {
    uint64_t one = 1;
    /* A full counter (EAGAIN) is readable already. */
    while (write(signal_fd, &one, sizeof one) < 0 && errno == EINTR) continue;
}

/* The counter of an eventfd or timerfd goes back to zero, so that it can become readable again. */
void notifier_clear(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) continue;
}

void notifier_close(int fd, int signal_fd) {
    (void)signal_fd;
    close(fd);
}

static uint32_t to_ready(uint32_t events) {
    uint32_t ready = 0;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ready |= READY_READ;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) ready |= READY_WRITE;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ready |= READY_HANGUP;
    return ready;
}

int poller_wait(struct poller *poller, struct poller_event *events, int count, int timeout_ms) {
    struct epoll_event raw[EVENTS_AT_ONCE];
    int got = epoll_wait(poller->fd, raw, count < EVENTS_AT_ONCE ? count : EVENTS_AT_ONCE, timeout_ms);
    if (got < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < got; i++) {
        if (raw[i].data.u64 == POLLER_WAKE) notifier_clear(poller->wake_fd);
        if (raw[i].data.u64 == POLLER_TICK) notifier_clear(poller->tick_fd);
        events[i].token = raw[i].data.u64;
        events[i].ready = to_ready(raw[i].events);
    }
    return got;
}

int poller_pending(struct poller *poller) {
    struct pollfd look = {.fd = poller->fd, .events = POLLIN};
    return poll(&look, 1, 0) > 0;
}

void poller_wake(struct poller *poller) { notifier_signal(poller->wake_fd); }

int poller_fileno(struct poller *poller) { return poller->fd; }

static struct timespec to_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

int poller_tick(struct poller *poller, uint64_t first_ns, uint64_t interval_ns) {
    struct itimerspec timer = {.it_interval = to_timespec(interval_ns), .it_value = to_timespec(first_ns)};
    return timerfd_settime(poller->tick_fd, 0, &timer, NULL) == 0 ? 0 : -errno;
}

void poller_precise(void) { prctl(PR_SET_TIMERSLACK, 1); }
