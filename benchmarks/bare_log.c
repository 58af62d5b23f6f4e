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
 * It flatters itself: bare.h says what it does without, and a client that stays MAX_LAG behind is closed without a
 * word. What it does do, because nothing works without: it stops reading publishers while half of the subscribers are
 * PACE_LAG behind (for ever, if they never read), and a partial send waits for room.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>

enum {
    BATCH_BYTES = 128 << 10,    /* 96 to 256 KiB cost the same, 64 KiB 8 % more CPU */
    TURN_BYTES = 32 << 20,      /* no turn appends more (the last frame may cross the half of it) */
    PACE_LAG = 4 << 20,
    MAX_LAG = 64 << 20,         /* with TURN_BYTES it fits into the ring */
};

struct owed {
    uint64_t cursor;            /* position of the first byte that the subscriber has not got */
    bool blocked;               /* it is owed something, and waits for EPOLLOUT */
    bool behind;                /* it lags over PACE_LAG */
};

#include "bare.h"
#include "ring.h"

static uint32_t blocked_count, behind_count;

/* ---- the log (ring.h) ---- */

static void take_message(uint8_t first, const uint8_t *payload, size_t size, const uint8_t *key)
{
    log_end += make_frame(at(log_end), first, payload, size, key);
}

/* ---- subscribers ---- */

static void joined(struct conn *c)
{
    c->owed.cursor = log_end;
}

static void leaving(struct conn *c)
{
    blocked_count -= c->owed.blocked;
    behind_count -= c->owed.behind;
}

static void note_lag(struct owed *owed)
{
    bool behind = log_end - owed->cursor > PACE_LAG;
    behind_count += behind - owed->behind;
    owed->behind = behind;
}

/* False when the subscriber is gone. */
static bool deliver(int fd)
{
    struct owed *owed = &conns[fd].owed;
    ssize_t sent = send(fd, at(owed->cursor), log_end - owed->cursor, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(fd);
        return false;
    }
    owed->cursor += sent > 0 ? sent : 0;
    bool blocked = owed->cursor != log_end;
    blocked_count += blocked - owed->blocked;
    owed->blocked = blocked;
    return true;
}

static bool send_owed(int fd)
{
    if (!conns[fd].owed.blocked)
        return true;
    if (!deliver(fd))
        return false;
    note_lag(&conns[fd].owed);
    return true;
}

static void fan_out(void)
{
    for (uint32_t i = subscribers.count; i-- > 0;) {
        int fd = subscribers.fds[i];
        struct owed *owed = &conns[fd].owed;
        if (log_end - owed->cursor > MAX_LAG)
            hang_up(fd);
        else if (owed->blocked || deliver(fd))
            note_lag(owed);
    }
}

/* ---- publishers ---- */

static bool paced(void)
{
    return subscribers.count && 2 * behind_count >= subscribers.count;
}

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

int main(int argc, char **argv)
{
    if (!map_ring())
        die("ring");
    serve("bare_log", argc, argv);
}
