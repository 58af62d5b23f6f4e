/* The publishers' side of load: masked frames, made a buffer at a time.
 *
 * Paced, it is an open loop: a message carries the time it was due, not the time it was made, so that a server (or a
 * load) that stands still is charged for everything that waited meanwhile.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { BUFFER_BYTES = 256 << 10, LONGEST_HEAD = 14 };

static struct publisher *publishers;
static uint8_t *payload;            /* filler, with the present message's marks at its start */
static size_t buffer_bytes;

void publishers_begin(void)
{
    buffer_bytes = CONTROL_BYTES + LONGEST_HEAD + options.size;
    if (buffer_bytes < BUFFER_BYTES)
        buffer_bytes = BUFFER_BYTES;
    publishers = calloc(options.publishers, sizeof *publishers);
    payload = malloc(options.size + 1);
    if (!publishers || !payload)
        die("calloc");
    for (size_t i = 0; i < options.size; i++)
        payload[i] = 'a' + i % 26;
    for (int i = 0; i < options.publishers; i++) {
        publishers[i].frames = malloc(buffer_bytes);
        if (!publishers[i].frames)
            die("malloc");
    }
}

static uint64_t due_ns(int id, const struct publisher *p)
{
    return totals.start_ns + (uint64_t)((p->made * options.publishers + id) * (1e9 / options.rate));
}

static size_t frame_head(uint8_t *out)
{
    size_t head = options.size < 126 ? 2 : options.size < 65536 ? 4 : 10;
    out[0] = 0x82;
    out[1] = 0x80 | (head == 2 ? options.size : head == 4 ? 126 : 127);
    for (size_t i = 2; i < head; i++)
        out[i] = (uint64_t)options.size >> (8 * (head - 1 - i));
    return head;
}

/* Only what fits whole, as load.h has it. */
static void mark(uint32_t id, uint64_t number, uint64_t time)
{
    if (options.size < NUMBERED_SIZE)
        return;
    memcpy(payload, &id, 4);
    memcpy(payload + 4, &number, 8);
    if (options.size >= STAMPED_SIZE)
        memcpy(payload + NUMBERED_SIZE, &time, 8);
}

static void mask(uint8_t *out, uint32_t key)
{
    uint64_t word, mask = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (; i + 8 <= options.size; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= mask;
        memcpy(out + i, &word, 8);
    }
    for (; i < options.size; i++)
        out[i] = payload[i] ^ (uint8_t)(key >> (8 * (i & 3)));
}

static void make_frames(int id, struct publisher *p, uint64_t now)
{
    p->begin = 0;
    p->end = p->control_size;
    memcpy(p->frames, p->control, p->control_size);
    p->control_size = 0;
    while (p->made < options.messages && p->end + LONGEST_HEAD + options.size <= buffer_bytes) {
        uint64_t time = options.rate > 0 ? due_ns(id, p) : now;
        if (time > now)
            return;
        mark(id, p->made++, time);
        uint8_t *out = p->frames + p->end;
        uint32_t key = random_word();
        size_t head = frame_head(out);
        memcpy(out + head, &key, 4);
        mask(out + head + 4, key);
        p->end += head + 4 + options.size;
    }
}

/* True when there is more to send at once. */
static bool publish(int id, struct publisher *p, uint64_t now)
{
    if (p->begin == p->end)
        make_frames(id, p, now);
    if (p->begin == p->end)
        return false;
    int number = options.subscribers + id;
    ssize_t sent = send(connections[number].fd, p->frames + p->begin, p->end - p->begin, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(number);
        return false;
    }
    p->begin += sent > 0 ? sent : 0;
    p->blocked = p->begin < p->end;
    return !p->blocked;
}

int64_t publishers_turn(uint64_t now)
{
    int64_t wait_ns = -1;
    totals.publishing = 0;
    for (int id = 0; id < options.publishers; id++) {
        struct publisher *p = &publishers[id];
        if (connections[options.subscribers + id].state != OPEN)
            continue;
        bool more = !p->blocked && publish(id, p, now);
        bool all = p->made == options.messages && p->begin == p->end;
        totals.publishing += !all;
        if (p->blocked || all)
            continue;
        int64_t wait = more || options.rate == 0 ? 0 : (int64_t)(due_ns(id, p) - now);
        if (wait < 0)
            wait = 0;
        if (wait_ns < 0 || wait < wait_ns)
            wait_ns = wait;
    }
    return wait_ns;
}

/* RFC 6455 5.5.3: of several pings only the last one needs an answer. */
bool publisher_keeps(int number, const uint8_t *control, size_t size)
{
    struct publisher *p = number < options.subscribers ? NULL : &publishers[number - options.subscribers];
    if (!p || p->begin == p->end)
        return false;
    memcpy(p->control, control, size);
    p->control_size = size;
    return true;
}

void publisher_writable(int number)
{
    publishers[number - options.subscribers].blocked = false;
}
