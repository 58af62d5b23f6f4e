/* bare: what the bare servers share: connections, upgrades, publishers' frames, and the loop.
 *
 * A program is one file. Before it includes this one it says how much it reads and what it keeps of a subscriber:
 *
 *     enum { BATCH_BYTES = ... };      read from a publisher at a time
 *     struct owed { ... };             what a subscriber has not got yet; all zeros: nothing
 *
 * and after it come the five functions under "The program's own". Its main() calls serve().
 *
 *     bare.h   accept ──► upgrade ──┬─► publisher: recv, frames ──► take_message()
 *                                   └─► subscriber: joined(), send_owed() when there is room, leaving()
 *
 * No topics (every path is the same one), policies, pings, closes, deadlines, fragments, limits, UTF-8 or error
 * replies; a client that misbehaves is closed without a word.
 */
#ifndef BARE_H
#define BARE_H

#include "accept_key.h"
#include "frames.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_FDS = 20000,
    MAX_EVENTS = 1024,
    HEAD_BYTES = 4096,          /* the longest request head */
    MAX_FRAME = 16 << 20,
};

enum role { FREE, OPENING, PUBLISHER, SUBSCRIBER };

struct conn {
    struct owed owed;           /* subscriber */
    uint8_t *in;                /* opening, publisher: bytes received and not used yet */
    size_t have, room;
    uint32_t place;             /* index in its list below */
    uint8_t role;
    bool readable;              /* publisher: may have more to read */
};

struct list {
    int fds[MAX_FDS];
    uint32_t count;
};

static struct conn conns[MAX_FDS];
static struct list publishers, subscribers;
static int epoll_fd;

/* ---- The program's own ---- */

static void joined(struct conn *c);             /* a subscriber: it is owed what comes from now on */
static void leaving(struct conn *c);            /* a connection, of any role, is about to be forgotten */
static bool send_owed(int fd);                  /* a subscriber that may have room; false when it is gone */
static void take_message(uint8_t first, const uint8_t *payload, size_t size, const uint8_t *key);
static bool read_publishers(void);              /* once a turn; true when a publisher may have more */

/* ---- Connections ---- */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct list *list_of(const struct conn *c)
{
    return c->role == PUBLISHER ? &publishers : c->role == SUBSCRIBER ? &subscribers : NULL;
}

static void enlist(int fd, enum role role)
{
    conns[fd].role = role;
    struct list *list = list_of(&conns[fd]);
    conns[fd].place = list->count;
    list->fds[list->count++] = fd;
}

/* Moves the last of a list to the place of the one that goes: who goes through a list does so backwards. */
static void hang_up(int fd)
{
    struct conn *c = &conns[fd];
    struct list *list = list_of(c);
    if (list) {
        int last = list->fds[--list->count];
        list->fds[c->place] = last;
        conns[last].place = c->place;
    }
    leaving(c);
    free(c->in);
    memset(c, 0, sizeof *c);
    close(fd);
}

/* ---- Frames ---- */

/* Takes every whole frame; false when the publisher is to go. */
static bool take_frames(struct conn *c)
{
    size_t done = 0, payload, size, length;
    while ((length = frame_length(c->in + done, c->have - done, &payload, &size))) {
        const uint8_t *frame = c->in + done;
        if (!(frame[1] & 128) || size > MAX_FRAME || (frame[0] & 15) == 8)
            return false;
        if (length > c->have - done)
            break;
        if (frame[0] & 3)                               /* pings and pongs are dropped */
            take_message(frame[0], frame + payload, size, frame + payload - 4);
        done += length;
    }
    c->have -= done;
    memmove(c->in, c->in + done, c->have);
    if (length > c->room) {
        c->room = length;
        c->in = realloc(c->in, length);
    }
    return c->in != NULL;
}

static void read_publisher(int fd)
{
    struct conn *c = &conns[fd];
    ssize_t asked = c->room - c->have, got = recv(fd, c->in + c->have, asked, 0);
    c->readable = got == asked;                         /* less was all there was, and more makes a new edge */
    c->have += got > 0 ? got : 0;
    if (got == 0 || (got < 0 && errno != EAGAIN) || !take_frames(c))
        hang_up(fd);
}

static void on_subscriber(int fd, uint32_t events)
{
    static uint8_t scrap[4096];
    if ((events & EPOLLOUT) && !send_owed(fd))
        return;
    while (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(fd, scrap, sizeof scrap, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            hang_up(fd);
        if (got <= 0)
            return;
    }
}

/* ---- Upgrades ---- */

/* The value of a header, without leading blanks; NULL when it is not there. */
static const char *header(const char *head, const char *name)
{
    const char *line = strcasestr(head, name);
    return line ? line + strlen(name) + strspn(line + strlen(name), " ") : NULL;
}

/* False when the request is none that this server takes. */
static bool upgrade(int fd, struct conn *c, size_t head_length)
{
    char answer[256], accepted[29];
    const char *key = header((char *)c->in, "\r\nsec-websocket-key:");
    const char *role = header((char *)c->in, "\r\npubsub:");
    if (!key || !role || strlen(key) < 24)
        return false;
    accept_key(key, accepted);
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n", accepted);
    if (send(fd, answer, size, MSG_NOSIGNAL) != size)
        return false;
    if (strncmp(role, "subscriber", 10) == 0) {
        free(c->in);
        c->in = NULL;
        joined(c);
        enlist(fd, SUBSCRIBER);
        return true;
    }
    c->have -= head_length;
    memmove(c->in, c->in + head_length, c->have);
    c->room = BATCH_BYTES;
    c->in = realloc(c->in, c->room);
    c->readable = true;
    enlist(fd, PUBLISHER);
    return c->in != NULL;
}

static void on_request(int fd)
{
    struct conn *c = &conns[fd];
    if (!c->in)
        c->in = malloc(HEAD_BYTES);
    ssize_t got = c->in ? recv(fd, c->in + c->have, HEAD_BYTES - 1 - c->have, 0) : 0;
    if (got < 0 && errno == EAGAIN)
        return;
    c->have += got > 0 ? got : 0;
    if (c->in)
        c->in[c->have] = 0;
    char *end = got > 0 ? strstr((char *)c->in, "\r\n\r\n") : NULL;
    if (got <= 0 || (end && !upgrade(fd, c, end + 4 - (char *)c->in)))
        hang_up(fd);
}

/* ---- The loop ---- */

static void accept_all(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (fd >= MAX_FDS || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd].role = OPENING;
    }
}

static int listen_on(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = loopback};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        die("listen");
    return fd;
}

static int listen_as(const char *name, int argc, char **argv)
{
    struct rlimit files = {MAX_FDS, MAX_FDS};
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", name);
        exit(2);
    }
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    printf("%s on 127.0.0.1:%s\n", name, argv[1]);
    fflush(stdout);
    return listener;
}

/* Does not return. */
static void serve(const char *name, int argc, char **argv)
{
    struct epoll_event events[MAX_EVENTS];
    int listener = listen_as(name, argc, argv);
    for (bool more = false;; more = read_publishers()) {
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, more ? 0 : -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (conns[fd].role == OPENING)
                on_request(fd);
            else if (conns[fd].role == PUBLISHER)
                conns[fd].readable = true;
            else if (conns[fd].role == SUBSCRIBER)
                on_subscriber(fd, events[i].events);
        }
    }
}

#endif
