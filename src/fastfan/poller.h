/* Waiting for many sockets, one wake-up and one periodic tick.
 *
 * Contract: readiness is told once, when it begins (edge); it holds until a call on the socket returned EAGAIN, or moved
 * less than it was asked to. So the caller remembers it, and a poller never has to be told about a connection that is not
 * to be read. It has to be told when readiness ended (poller_rearm): not every system sees that by itself.
 * Threads: poller_wake() and poller_pending() any; poller_fileno() any while all waits are with timeout 0; everything
 * else the one that waits.
 * Ownership: the poller owns its own descriptors, never a socket's. Results are counts or -errno.
 */
#ifndef FASTFAN_POLLER_H
#define FASTFAN_POLLER_H

#include <stdint.h>

enum { READY_READ = 1, READY_WRITE = 2, READY_HANGUP = 4 };

/* Tokens that no socket may have. */
#define POLLER_WAKE UINT64_MAX
#define POLLER_TICK (UINT64_MAX - 1)

struct poller {
    int fd;               /* poller_fileno()'s */
    int wake_fd;
    int tick_fd;
    struct poll_set *set; /* the sockets, where the kernel does not keep them */
};

struct poller_event {
    uint64_t token;
    uint32_t ready;
};

int poller_open(struct poller *poller);
void poller_close(struct poller *poller);
int poller_add(struct poller *poller, int fd, uint64_t token);
int poller_remove(struct poller *poller, int fd);
/* What of `ready` a call on the socket has used up, and is to be told again. A descriptor that was not added, or is
 * negative, is passed over. */
void poller_rearm(struct poller *poller, int fd, uint32_t ready);
/* Fills `events`; timeout in milliseconds, 0 looks only, -1 waits for ever. */
int poller_wait(struct poller *poller, struct poller_event *events, int count, int timeout_ms);
void poller_wake(struct poller *poller);
/* Whether poller_wait() would have something to tell, without taking it; without epoll, no more than whether it was
 * woken. Any thread. */
int poller_pending(struct poller *poller);
/* A descriptor that is readable while poller_wait() has something to tell, for a host's loop to watch; or -errno. Always
 * the same one. It has looked when this returns; from then on, where the kernel has no such descriptor, a thread looks,
 * and the host may learn of a socket some microseconds later than poller_wait() would. */
int poller_fileno(struct poller *poller);
/* A tick in `first_ns`, and from then on every `interval_ns`; with 0 there are none from now on. */
int poller_tick(struct poller *poller, uint64_t first_ns, uint64_t interval_ns);

/* From now on waits of the calling thread end when they are due, not some 50 us later, at the cost of wake-ups. */
void poller_precise(void);

/* A descriptor for telling another loop: readable from signal to clear. One signals at `signal_fd`, which may be the same;
 * opening gives both, or -errno. */
int notifier_open(int *signal_fd);
void notifier_signal(int signal_fd);
void notifier_clear(int fd);
void notifier_close(int fd, int signal_fd);

#endif
