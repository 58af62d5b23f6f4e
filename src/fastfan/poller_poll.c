/* Waiting with poll(2), for POSIX systems without epoll.
 *
 * poll() tells of a state for as long as it lasts; the contract is to tell when it begins. So a socket is asked only
 * about what the caller waits for: telling takes that out of its `events`, poller_rearm() puts it back. With nothing left
 * to ask, its descriptor is turned over (~fd, negative), or poll() would tell of its hangup without end.
 *
 * A host's loop wants one descriptor for all of it, and poll() has none: poller_poll_lookout.c makes one. Memory for
 * sockets is taken in poller_add().
 */
#include "poller_poll.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_ROOM = 64, NS_A_MS = 1000000, ENDED = POLLHUP | POLLERR | POLLNVAL };

/* Elsewhere the end of a stream is told as something to read. */
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

/* ---- pipes ---- */

int notifier_open(int *signal_fd) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    *signal_fd = ends[1];
    return ends[0];
}

void notifier_signal(int signal_fd) {
    /* A full pipe (EAGAIN) is readable already. */
    while (write(signal_fd, "", 1) < 0 && errno == EINTR) continue;
}

void notifier_clear(int fd) {
    char signals[64];
    ssize_t got;
    do got = read(fd, signals, sizeof signals);
    while (got == sizeof signals || (got < 0 && errno == EINTR));
}

void notifier_close(int fd, int signal_fd) {
    if (fd < 0) return;
    close(fd);
    close(signal_fd);
}

/* ---- what is asked, what is told ---- */

static short to_events(uint32_t ready) {
    return (short)((ready & READY_READ ? POLLIN | POLLRDHUP : 0) | (ready & READY_WRITE ? POLLOUT : 0));
}

static uint32_t to_ready(short events) {
    uint32_t ready = 0;
    if (events & (POLLIN | POLLRDHUP | ENDED)) ready |= READY_READ;
    if (events & (POLLOUT | ENDED)) ready |= READY_WRITE;
    if (events & (POLLRDHUP | ENDED)) ready |= READY_HANGUP;
    return ready;
}

static void ask(struct pollfd *socket, int fd, int events) {
    *socket = (struct pollfd){.fd = events ? fd : ~fd, .events = (short)events};
}

static int place_of(const struct poll_set *set, int fd) {
    return fd >= 0 && fd < set->places_room ? set->places[fd] : 0;
}

/* ---- the set ---- */

/* Under the lock. */
static void changed(struct poll_set *set) {
    set->version++;
    lookout_nudge(&set->lookout);
}

/* Room for one more, whose descriptor this is. What has grown stays grown where a later step fails. */
static int make_room(struct poll_set *set, int fd) {
    if (set->count == set->room) {
        int room = set->room ? 2 * set->room : LEAST_ROOM;
        struct pollfd *sockets = realloc(set->sockets, (size_t)room * sizeof *sockets);
        if (sockets) set->sockets = sockets;
        uint64_t *tokens = realloc(set->tokens, (size_t)room * sizeof *tokens);
        if (tokens) set->tokens = tokens;
        if (!sockets || !tokens) return -ENOMEM;
        set->room = room;
    }
    if (fd >= set->places_room) {
        int room = fd + 1 > LEAST_ROOM ? 2 * (fd + 1) : LEAST_ROOM;
        int *places = realloc(set->places, (size_t)room * sizeof *places);
        if (!places) return -ENOMEM;
        memset(places + set->places_room, 0, (size_t)(room - set->places_room) * sizeof *places);
        set->places = places;
        set->places_room = room;
    }
    return 0;
}

int poller_add(struct poller *poller, int fd, uint64_t token) {
    struct poll_set *set = poller->set;
    if (fd < 0) return -EBADF;
    if (place_of(set, fd)) return -EEXIST;
    mutex_lock(&set->lock);
    int result = make_room(set, fd);
    if (result == 0) {
        set->places[fd] = set->count;
        set->tokens[set->count] = token;
        ask(&set->sockets[set->count++], fd, to_events(READY_READ | READY_WRITE));
        changed(set);
    }
    mutex_unlock(&set->lock);
    return result;
}

/* The last one takes its place. */
int poller_remove(struct poller *poller, int fd) {
    struct poll_set *set = poller->set;
    int place = place_of(set, fd);
    if (place == 0) return -ENOENT;
    mutex_lock(&set->lock);
    int last = --set->count, last_fd = set->sockets[last].fd;
    set->sockets[place] = set->sockets[last];
    set->tokens[place] = set->tokens[last];
    set->places[last_fd < 0 ? ~last_fd : last_fd] = place;
    set->places[fd] = 0;
    changed(set);
    mutex_unlock(&set->lock);
    return 0;
}

void poller_rearm(struct poller *poller, int fd, uint32_t ready) {
    struct poll_set *set = poller->set;
    int place = place_of(set, fd);
    int events = place ? set->sockets[place].events : 0;
    if (place == 0 || (events | to_events(ready)) == events) return;
    mutex_lock(&set->lock);
    ask(&set->sockets[place], fd, events | to_events(ready));
    changed(set);
    mutex_unlock(&set->lock);
}

int poller_tick(struct poller *poller, uint64_t first_ns, uint64_t interval_ns) {
    struct poll_set *set = poller->set;
    mutex_lock(&set->lock);
    set->tick_ns = interval_ns;
    set->tick_due_ns = clock_ns() + first_ns;
    changed(set);
    mutex_unlock(&set->lock);
    return 0;
}

/* ---- waiting ---- */

bool is_tick_due(const struct poll_set *set) { return set->tick_ns && clock_ns() >= set->tick_due_ns; }

int until_tick(const struct poll_set *set, int timeout_ms) {
    if (set->tick_ns == 0 || timeout_ms == 0) return timeout_ms;
    uint64_t now = clock_ns(), left_ns = set->tick_due_ns > now ? set->tick_due_ns - now : 0;
    uint64_t left_ms = (left_ns + NS_A_MS - 1) / NS_A_MS;
    if (timeout_ms > 0 && (uint64_t)timeout_ms < left_ms) return timeout_ms;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

static bool take_tick(struct poll_set *set) {
    if (!is_tick_due(set)) return false;
    /* Those missed are one. */
    set->tick_due_ns += set->tick_ns * (1 + (clock_ns() - set->tick_due_ns) / set->tick_ns);
    return true;
}

/* What poll() found out about sockets, as far as there is room for it; how many. */
static int tell(struct poll_set *set, struct poller_event *events, int room) {
    int others = set->count - 1, told = 0;
    for (int i = 0; i < others && told < room; i++) {
        int place = 1 + (set->first + i) % others;
        struct pollfd *socket = &set->sockets[place];
        if (socket->fd < 0 || socket->revents == 0) continue;
        events[told++] = (struct poller_event){.token = set->tokens[place], .ready = to_ready(socket->revents)};
        ask(socket, socket->fd, socket->events & ~to_events(to_ready(socket->revents)));
        if (told == room) set->first = place % others;
    }
    return told;
}

int poller_wait(struct poller *poller, struct poller_event *events, int count, int timeout_ms) {
    struct poll_set *set = poller->set;
    int told = 0;
    /* A host that watches poller.fd only looks, and the lookout must not ring between the look and the telling. Who
     * sleeps in here would hold the lock for as long, and needs no lookout. */
    if (timeout_ms == 0) mutex_lock(&set->lock);
    int found = poll(set->sockets, (nfds_t)set->count, until_tick(set, timeout_ms));
    int error = found < 0 ? errno : 0;
    if (timeout_ms != 0) mutex_lock(&set->lock);
    if (told < count && take_tick(set)) events[told++] = (struct poller_event){.token = POLLER_TICK};
    if (found > 0 && told < count && set->sockets[PIPE_PLACE].revents) {
        notifier_clear(poller->fd);
        events[told++] = (struct poller_event){.token = POLLER_WAKE, .ready = READY_READ};
    }
    if (found > 0) told += tell(set, events + told, count - told);
    if (told) changed(set);
    mutex_unlock(&set->lock);
    return told || error == 0 || error == EINTR ? told : -error;
}

void poller_wake(struct poller *poller) { notifier_signal(poller->wake_fd); }

int poller_fileno(struct poller *poller) {
    struct poll_set *set = poller->set;
    mutex_lock(&set->lock);
    int result = lookout_begin(poller);
    if (result == 0 && (is_tick_due(set) || poll(set->sockets, (nfds_t)set->count, 0) > 0)) poller_wake(poller);
    mutex_unlock(&set->lock);
    return result < 0 ? result : poller->fd;
}

/* POSIX has nothing for it. */
void poller_precise(void) {}

/* The sockets are the waiting thread's to look at: all that another can see is whether it has been woken. */
int poller_pending(struct poller *poller) {
    struct pollfd look = {.fd = poller->fd, .events = POLLIN};
    return poll(&look, 1, 0) > 0;
}

/* ---- life ---- */

int poller_open(struct poller *poller) {
    struct poll_set *set = calloc(1, sizeof *set);
    *poller = (struct poller){.fd = -1, .wake_fd = -1, .tick_fd = -1, .set = set};
    if (!set) return -ENOMEM;
    mutex_init(&set->lock);
    set->lookout.fd = -1;
    poller->fd = notifier_open(&poller->wake_fd);
    int result = poller->fd < 0 ? poller->fd : make_room(set, 0);
    if (result == 0) ask(&set->sockets[set->count++], poller->fd, POLLIN);
    if (result < 0) poller_close(poller);
    return result;
}

void poller_close(struct poller *poller) {
    struct poll_set *set = poller->set;
    if (!set) return;
    lookout_end(set);
    notifier_close(poller->fd, poller->wake_fd);
    mutex_destroy(&set->lock);
    free(set->sockets);
    free(set->tokens);
    free(set->places);
    free(set);
    *poller = (struct poller){.fd = -1, .wake_fd = -1, .tick_fd = -1};
}
