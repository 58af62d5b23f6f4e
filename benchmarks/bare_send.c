/* bare_send: a WebSocket server that sends every message to every subscriber at once, as most servers do, and nothing
 * else: what that way of broadcasting costs at least.
 *
 *     bare_send PORT           serves 127.0.0.1:PORT until killed; every path is the same topic
 *
 * A publisher's frame is made ready once, and sent to one subscriber after the other; what a subscriber's socket does
 * not take is copied to a queue of its own.
 *
 *       recv          make_frame             send, one per subscriber and message
 *   publishers ──► in ──────────► [ frame ] ────────────────────────────────────► subscribers
 *                                          └─► [ queue ] ──► when there is room ──┘
 *
 * It flatters itself as bare_log does: bare.h says what it does without, and a client that is owed MAX_QUEUE is closed
 * without a word. It stops reading publishers while half of the subscribers are owed PACE_QUEUE. A queue goes out in
 * as few sends as there is room for: where the subscribers are slower than the server, it sends less often than once
 * per message.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BATCH_BYTES = 64 << 10,     /* more only makes the others wait: the sends of a batch take a thousand times longer */
    PACE_QUEUE = 256 << 10,     /* a thousand of them are 256 MiB */
    MAX_QUEUE = 64 << 20,
};

struct owed {
    uint8_t *queue;             /* bytes that the socket did not take: from begin to end */
    size_t begin, end, room;
    bool behind;                /* they are more than PACE_QUEUE */
};

#include "bare.h"

static uint32_t behind_count;
static uint8_t frame[FRAME_HEAD + MAX_FRAME];

static size_t queued(const struct owed *owed)
{
    return owed->end - owed->begin;
}

static void note_lag(struct owed *owed)
{
    bool behind = queued(owed) > PACE_QUEUE;
    behind_count += behind - owed->behind;
    owed->behind = behind;
}

static void joined(struct conn *c)
{
    c->owed = (struct owed){0};
}

static void leaving(struct conn *c)
{
    behind_count -= c->owed.behind;
    free(c->owed.queue);
}

/* False when there is no memory, or too much is queued already. */
static bool keep(struct owed *owed, const uint8_t *bytes, size_t size)
{
    size_t needed = queued(owed) + size;
    if (needed > MAX_QUEUE)
        return false;
    if (owed->end + size > owed->room) {
        if (queued(owed))
            memmove(owed->queue, owed->queue + owed->begin, queued(owed));
        owed->end -= owed->begin;
        owed->begin = 0;
    }
    if (needed > owed->room) {
        uint8_t *queue = realloc(owed->queue, 2 * needed);
        if (!queue)
            return false;
        owed->queue = queue;
        owed->room = 2 * needed;
    }
    memcpy(owed->queue + owed->end, bytes, size);
    owed->end += size;
    note_lag(owed);
    return true;
}

/* How much the socket took; -1 when the subscriber is lost. */
static ssize_t offer(int fd, const uint8_t *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static bool send_owed(int fd)
{
    struct owed *owed = &conns[fd].owed;
    ssize_t sent = queued(owed) ? offer(fd, owed->queue + owed->begin, queued(owed)) : 0;
    if (sent < 0) {
        hang_up(fd);
        return false;
    }
    owed->begin += sent;
    note_lag(owed);
    if (queued(owed))
        return true;
    free(owed->queue);
    *owed = (struct owed){0};
    return true;
}

static void take_message(uint8_t first, const uint8_t *payload, size_t size, const uint8_t *key)
{
    size_t length = make_frame(frame, first, payload, size, key);
    for (uint32_t i = subscribers.count; i-- > 0;) {
        int fd = subscribers.fds[i];
        struct owed *owed = &conns[fd].owed;
        ssize_t sent = queued(owed) ? 0 : offer(fd, frame, length);
        if (sent < 0 || ((size_t)sent < length && !keep(owed, frame + sent, length - sent)))
            hang_up(fd);
    }
}

static bool paced(void)
{
    return subscribers.count && 2 * behind_count >= subscribers.count;
}

static bool read_publishers(void)
{
    bool more = false;
    for (uint32_t i = publishers.count; i-- > 0 && !paced();) {
        int fd = publishers.fds[i];
        if (conns[fd].readable)
            read_publisher(fd);
        more |= conns[fd].readable;
    }
    return more;
}

int main(int argc, char **argv)
{
    serve("bare_send", argc, argv);
}
