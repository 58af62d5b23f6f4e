/* bare_log: a WebSocket server that is one log with many cursors and nothing else: what fastfan is measured against.
 *
 *     bare_log PORT            serves 127.0.0.1:PORT until killed; every path is the same topic
 *
 * Publishers' frames are unmasked into one ring; a subscriber is a place in it, and gets all it is owed in one send() a
 * turn.
 *
 *       recv            append                 send, one per subscriber and turn
 *   publishers ──► in ──────────► [ ring ] ──────────────────────────────► subscribers
 *
 * It flatters itself: no topics, policies, pings, closes, deadlines, fragments, limits, UTF-8 or error replies; a
 * client that misbehaves or stays MAX_LAG behind is closed without a word. What it does do, because nothing works
 * without: it stops reading publishers while half of the subscribers are PACE_LAG behind (for ever, if they never
 * read), and a partial send waits for room.
 *
 * The ring is one memory mapped twice, end to end, so that every range in it is contiguous. Positions count bytes from
 * the first byte ever; when everyone has everything, the next byte goes to the ring's start again, which is warm in
 * the cache.
 */
#define _GNU_SOURCE
#include "accept_key.h"

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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_FDS = 20000,
    MAX_EVENTS = 1024,
    HEAD_BYTES = 4096,          /* the longest request head */
    BATCH_BYTES = 128 << 10,    /* read from a publisher per turn: 96 to 256 KiB cost the same, 64 KiB 8 % more CPU */
    MAX_FRAME = 16 << 20,
    TURN_BYTES = 32 << 20,      /* no turn appends more (the last frame may cross the half of it) */
    PACE_LAG = 4 << 20,
    MAX_LAG = 64 << 20,
    RING_BYTES = 128 << 20,     /* > MAX_LAG + TURN_BYTES, and a power of two */
};

enum role { FREE, OPENING, PUBLISHER, SUBSCRIBER };

struct conn {
    uint64_t cursor;            /* subscriber: position of the first byte it has not got */
    uint8_t *in;                /* opening, publisher: bytes received and not used yet */
    size_t have, room;
    uint32_t place;             /* index in its list below */
    uint8_t role;
    bool blocked;               /* subscriber: owed something, and waiting for EPOLLOUT */
    bool behind;                /* subscriber: lags over PACE_LAG */
    bool readable;              /* publisher: may have more to read */
};

struct list {
    int fds[MAX_FDS];
    uint32_t count;
};

static struct conn conns[MAX_FDS];
static struct list publishers, subscribers;
static uint32_t blocked_count, behind_count;
static uint8_t *ring;
static uint64_t log_end, log_origin;    /* positions: after the last byte; of the byte at the ring's start */
static int epoll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- lists and connections ---- */

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

static void hang_up(int fd)
{
    struct conn *c = &conns[fd];
    struct list *list = list_of(c);
    if (list) {
        int last = list->fds[--list->count];
        list->fds[c->place] = last;
        conns[last].place = c->place;
    }
    blocked_count -= c->blocked;
    behind_count -= c->behind;
    free(c->in);
    memset(c, 0, sizeof *c);
    close(fd);
}

/* ---- the log ---- */

static void map_ring(void)
{
    int fd = memfd_create("log", 0);
    if (fd < 0 || ftruncate(fd, RING_BYTES) < 0)
        die("memfd");
    ring = mmap(NULL, 2ul * RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int half = 0; half < 2; half++) {
        void *at = ring + (size_t)half * RING_BYTES;
        if (mmap(at, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            die("mmap");
    }
    close(fd);
}

static uint8_t *at(uint64_t position)
{
    return ring + ((position - log_origin) & (RING_BYTES - 1));
}

static void unmask(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *key)
{
    uint32_t once;
    memcpy(&once, key, 4);
    uint64_t word, mask = (uint64_t)once << 32 | once;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= mask;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++)
        to[i] = from[i] ^ key[i & 3];
}

static void append(uint8_t first, const uint8_t *payload, size_t size, const uint8_t *key)
{
    uint8_t *out = at(log_end);
    size_t head = size < 126 ? 2 : size < 65536 ? 4 : 10;
    out[0] = first;
    out[1] = head == 2 ? size : head == 4 ? 126 : 127;
    for (size_t i = 2; i < head; i++)
        out[i] = (uint64_t)size >> (8 * (head - 1 - i));
    unmask(out + head, payload, size, key);
    log_end += head + size;
}

/* ---- subscribers ---- */

static void note_lag(struct conn *c)
{
    bool behind = log_end - c->cursor > PACE_LAG;
    behind_count += behind - c->behind;
    c->behind = behind;
}

/* False when the subscriber is gone. */
static bool deliver(int fd)
{
    struct conn *c = &conns[fd];
    size_t owed = log_end - c->cursor;
    ssize_t sent = send(fd, at(c->cursor), owed, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(fd);
        return false;
    }
    c->cursor += sent > 0 ? sent : 0;
    bool blocked = c->cursor != log_end;
    blocked_count += blocked - c->blocked;
    c->blocked = blocked;
    return true;
}

static void fan_out(void)
{
    for (uint32_t i = subscribers.count; i-- > 0;) {    /* backwards: hang_up() moves the last one here */
        int fd = subscribers.fds[i];
        struct conn *c = &conns[fd];
        if (log_end - c->cursor > MAX_LAG)
            hang_up(fd);
        else if (c->blocked || deliver(fd))
            note_lag(c);
    }
}

static void on_subscriber(int fd, uint32_t events)
{
    static uint8_t scrap[4096];
    if (conns[fd].blocked && (events & EPOLLOUT)) {
        if (!deliver(fd))
            return;
        note_lag(&conns[fd]);
    }
    while (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(fd, scrap, sizeof scrap, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            hang_up(fd);
        if (got <= 0)
            return;
    }
}

/* ---- publishers ---- */

/* The length of the first frame in `in`, its payload's place and size; 0 when its head is not complete. */
static size_t frame_length(const uint8_t *in, size_t have, size_t *payload, size_t *size)
{
    if (have < 2)
        return 0;
    size_t coded = in[1] & 127, extended = coded == 126 ? 2 : coded == 127 ? 8 : 0;
    *payload = 2 + extended + 4;
    if (have < *payload)
        return 0;
    *size = extended ? 0 : coded;
    for (size_t i = 0; i < extended; i++)
        *size = *size << 8 | in[2 + i];
    return *payload + *size;
}

/* Appends every whole frame; false when the publisher is to go. */
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
            append(frame[0], frame + payload, size, frame + payload - 4);
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

static bool paced(void)
{
    return subscribers.count && 2 * behind_count >= subscribers.count;
}

/* True when a publisher may have more. */
static bool read_publishers(void)
{
    bool more = false;
    uint64_t start = log_end;
    if (paced())
        return false;
    if (blocked_count == 0)
        log_origin = log_end;                           /* nobody needs a byte of the ring: begin it again */
    for (uint32_t i = publishers.count; i-- > 0 && log_end - start < TURN_BYTES / 2;) {
        int fd = publishers.fds[i];
        if (conns[fd].readable)
            read_publisher(fd);
        more |= conns[fd].readable;
    }
    if (log_end != start)
        fan_out();
    return more;
}

/* ---- upgrades ---- */

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
        c->cursor = log_end;
        free(c->in);
        c->in = NULL;
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

int main(int argc, char **argv)
{
    struct rlimit files = {MAX_FDS, MAX_FDS};
    struct epoll_event events[MAX_EVENTS];
    if (argc != 2) {
        fprintf(stderr, "usage: bare_log PORT\n");
        return 2;
    }
    setrlimit(RLIMIT_NOFILE, &files);
    map_ring();
    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    printf("bare_log on 127.0.0.1:%s\n", argv[1]);
    fflush(stdout);
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
