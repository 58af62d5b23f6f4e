/* The lookout: a thread that polls a copy of the sockets, and rings when one is ready.
 *
 *     host's loop ◄── poller.fd ═══ pipe ◄── poller_wake() ◄── lookout ◄── poll() on the copy
 *                                                 ▲               ▲
 *                                      other threads              └── nudge pipe ◄── every change of the set
 *
 * A change makes a new version, and nudges. The lookout rings only for the version that it copied, under the lock; so it
 * never rings for what poller_wait() has told meanwhile. A nudge ends its poll(), and with it the hold that a poll() has
 * on the sockets in it: one that was removed is not kept open for long.
 *
 * It begins with the first poller_fileno(): who waits in poller_wait() has no need of it.
 */
#include "poller_poll.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Takes the copy, under the lock; how many, its pipe included, or -ENOMEM. */
static int copy(struct poll_set *set) {
    struct lookout *lookout = &set->lookout;
    if (lookout->copy_room < set->count) {
        struct pollfd *grown = realloc(lookout->copy, (size_t)set->room * sizeof *grown);
        if (!grown) return -ENOMEM;
        lookout->copy = grown;
        lookout->copy_room = set->room;
    }
    lookout->copy[0] = (struct pollfd){.fd = lookout->fd, .events = POLLIN};
    /* Not the whole structs: the one who waits may be writing their `revents`. */
    for (int i = 1; i < set->count; i++)
        lookout->copy[i] = (struct pollfd){.fd = set->sockets[i].fd, .events = set->sockets[i].events};
    return set->count;
}

/* Waits until there is something to tell, or a nudge. Without memory, here or in the kernel, there may always be
 * something. */
static bool sees_something(struct lookout *lookout, int copied, int timeout_ms) {
    if (copied < 0) return true;
    int found = poll(lookout->copy, (nfds_t)copied, timeout_ms);
    return found <= 0 || lookout->copy[0].revents == 0;
}

static void *look_out(void *given) {
    struct poller *poller = given;
    struct poll_set *set = poller->set;
    struct lookout *lookout = &set->lookout;
    struct pollfd nudge = {.fd = lookout->fd, .events = POLLIN};
    mutex_lock(&set->lock);
    while (!lookout->leaving) {
        if (lookout->nudged) notifier_clear(lookout->fd);
        lookout->nudged = false;
        uint64_t version = set->version;
        int copied = copy(set), timeout_ms = until_tick(set, -1);
        mutex_unlock(&set->lock);
        bool rings = sees_something(lookout, copied, timeout_ms);
        mutex_lock(&set->lock);
        if (!rings || version != set->version || lookout->leaving) continue;
        poller_wake(poller);
        /* It has nothing to add until somebody has looked, which is a change. */
        mutex_unlock(&set->lock);
        poll(&nudge, 1, -1);
        mutex_lock(&set->lock);
    }
    mutex_unlock(&set->lock);
    return NULL;
}

void lookout_nudge(struct lookout *lookout) {
    if (!lookout->process || lookout->nudged) return;
    lookout->nudged = true;
    notifier_signal(lookout->nudge_fd);
}

/* With all signals blocked: they are for the threads of the program. */
int lookout_begin(struct poller *poller) {
    struct lookout *lookout = &poller->set->lookout;
    if (lookout->process) return 0;
    sigset_t all, before;
    lookout->fd = notifier_open(&lookout->nudge_fd);
    if (lookout->fd < 0) return lookout->fd;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&lookout->thread, NULL, look_out, poller);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) {
        lookout->process = getpid();
        return 0;
    }
    notifier_close(lookout->fd, lookout->nudge_fd);
    lookout->fd = -1;
    return -error;
}

void lookout_end(struct poll_set *set) {
    struct lookout *lookout = &set->lookout;
    if (lookout->process == getpid()) {
        mutex_lock(&set->lock);
        lookout->leaving = true;
        lookout_nudge(lookout);
        mutex_unlock(&set->lock);
        pthread_join(lookout->thread, NULL);
    }
    notifier_close(lookout->fd, lookout->nudge_fd);
    free(lookout->copy);
}
