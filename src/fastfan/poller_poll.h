/* The sockets that poll(2) is asked about, and the thread that polls for a host's loop (poller_poll_lookout.c).
 *
 * The lock is over the set, between that thread and the one that waits: only the latter changes it, under the lock, and
 * so reads it without. `version` grows with every change.
 */
#ifndef FASTFAN_POLLER_POLL_H
#define FASTFAN_POLLER_POLL_H

#include "poller.h"
#include "sync.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

enum { PIPE_PLACE = 0 };

struct lookout {
    pthread_t thread;
    pid_t process;       /* whose thread it is: a forked child has the memory but not the thread; 0: none yet */
    int fd, nudge_fd;    /* the ends of its own pipe */
    bool nudged, leaving;
    struct pollfd *copy; /* [0] is that pipe */
    int copy_room;
};

struct poll_set {
    mutex_t lock;
    struct pollfd *sockets; /* [PIPE_PLACE] is poller->fd */
    uint64_t *tokens;
    int count, room;
    int *places;            /* by descriptor; 0: not added */
    int places_room;
    int first;              /* where the next look begins: with more to tell than asked for, all get their turn */
    uint64_t tick_ns, tick_due_ns;
    uint64_t version;
    struct lookout lookout;
};

bool is_tick_due(const struct poll_set *set);
/* `timeout_ms`, or less if a tick comes first; -1: for ever. */
int until_tick(const struct poll_set *set, int timeout_ms);

/* Under the lock: begins it at the first call; 0 or -errno. */
int lookout_begin(struct poller *poller);
/* Under the lock: the set is no longer what the lookout copied. */
void lookout_nudge(struct lookout *lookout);
void lookout_end(struct poll_set *set);

#endif
