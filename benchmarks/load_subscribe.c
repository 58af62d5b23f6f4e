/* The subscribers' side of load: every frame is looked at, none is copied, and all connections share one buffer.
 *
 * A frame as it ought to be costs four comparisons (take_run); all others go the long way (take_frame), which also
 * knows control frames and frames cut by the end of a read. Only when a subscriber's order breaks does it get a bitmap
 * of what it has seen, from which late and doubled messages are told apart.
 */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { CONTINUATION = 0, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, RESERVED = 0x70, MASKED = 0x80 };

static struct subscriber *subscribers;
static uint64_t expected;                   /* messages for each subscriber */
static uint64_t now;                        /* when the present read returned */
static bool timed;                          /* latency is wanted */
static uint64_t head_bits, head_mask;       /* a frame as it ought to be starts with these bits ... */
static size_t head_bytes, frame_bytes;      /* ... and is this long; 0: take_frame() must look */
static uint8_t buffer[HELD_BYTES + READ_BYTES];

static uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint32_t half_word_at(const uint8_t *p)
{
    uint32_t half;
    memcpy(&half, p, sizeof half);
    return half;
}

void subscribers_begin(void)
{
    int count = options.subscribers + options.publishers;
    subscribers = calloc(count, sizeof *subscribers);
    uint64_t *numbers = calloc((size_t)options.subscribers * options.publishers, sizeof *numbers);
    uint8_t **seen = calloc((size_t)options.subscribers * options.publishers, sizeof *seen);
    if (!subscribers || !numbers || !seen)
        die("calloc");
    for (int i = 0; i < options.subscribers; i++) {
        subscribers[i].next = numbers + (size_t)i * options.publishers;
        subscribers[i].seen = seen + (size_t)i * options.publishers;
    }
    timed = options.rate > 0 && options.size >= STAMPED_SIZE;
    expected = options.messages * options.publishers;
    uint8_t head[8] = {FIN | 2, options.size < 126 ? options.size : 126, options.size >> 8, options.size};
    head_bytes = options.size < 126 ? 2 : 4;
    head_bits = word_at(head);
    head_mask = head_bytes == 2 ? 0xffff : 0xffffffff;
    head_bits &= head_mask;
    frame_bytes = options.size >= NUMBERED_SIZE && options.size < 65536 ? head_bytes + options.size : 0;
}

bool subscriber_has_all(int number)
{
    return number < options.subscribers && subscribers[number].received >= expected;
}

/* ---- order ---- */

static void record_latency(uint64_t due_ns)
{
    uint64_t ns = now > due_ns ? now - due_ns : 0;
    int shift = ns < 64 ? 0 : 57 - __builtin_clzll(ns);
    totals.latency[shift ? shift * 64 + (ns >> shift) : ns]++;
}

/* True when the message was not here yet. */
static bool take_late_number(struct subscriber *s, uint32_t id, uint64_t number)
{
    if (!s->seen[id]) {
        s->seen[id] = calloc(1, options.messages / 8 + 1);
        if (!s->seen[id])
            die("calloc");
        for (uint64_t i = 0; i < s->next[id]; i++)
            s->seen[id][i / 8] |= 1 << i % 8;
        s->broken = true;
    }
    uint8_t *byte = &s->seen[id][number / 8], bit = 1 << number % 8;
    if (*byte & bit) {
        totals.duplicated++;
        return false;
    }
    *byte |= bit;
    if (number < s->next[id])
        totals.reordered++;
    else
        s->next[id] = number + 1;
    return true;
}

static bool take_number(struct subscriber *s, uint32_t id, uint64_t number)
{
    if (number != s->next[id] || s->seen[id])
        return take_late_number(s, id, number);
    s->next[id]++;
    return true;
}

/* ---- frames ---- */

static void malformed(int number)
{
    totals.malformed++;
    drop(number);
}

static void end_of_frame(struct subscriber *s)
{
    if (!s->counts)
        return;
    s->received++;
    if (timed)
        record_latency(s->due_ns);
}

static void take_control(int number, uint8_t opcode, const uint8_t *payload, size_t size)
{
    if (opcode == PING)
        send_control(number, PONG, payload, size);
    if (opcode != CLOSE)
        return;
    if (!subscriber_has_all(number))
        totals.close_code = size < 2 ? 1005 : payload[0] << 8 | payload[1];
    send_control(number, CLOSE, payload, size < 2 ? 0 : 2);
    drop(number);
}

/* The start of a data frame's payload; false when it is not what a publisher of ours sent. */
static bool take_data(int number, const uint8_t *payload, uint64_t size)
{
    struct subscriber *s = &subscribers[number];
    s->counts = true;
    if (size != options.size || number >= options.subscribers)
        return false;
    if (size < NUMBERED_SIZE)
        return true;
    uint32_t id = half_word_at(payload);
    uint64_t count = word_at(payload + 4);
    if (id >= (uint32_t)options.publishers || count >= options.messages)
        return false;
    s->counts = take_number(s, id, count);
    s->due_ns = size < STAMPED_SIZE ? 0 : word_at(payload + NUMBERED_SIZE);
    return true;
}

/* Takes a frame's head and the start of its payload, or a control frame; 0 when more bytes are needed. */
static size_t take_frame(int number, const uint8_t *p, size_t have)
{
    struct subscriber *s = &subscribers[number];
    size_t head = have < 2 ? 2 : p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2;
    if (have < 2 || have < head)
        return 0;
    uint64_t size = head == 2 ? p[1] : 0;
    for (size_t i = 2; i < head; i++)
        size = size << 8 | p[i];
    bool control = p[0] & 8;
    uint8_t opcode = p[0] & 15;
    if ((p[0] & RESERVED) || !(p[0] & FIN) || (p[1] & MASKED) || opcode == CONTINUATION || (control && size > 125)) {
        malformed(number);      /* fragments are legal, but no server that makes frames once sends any */
        return have;
    }
    size_t needed = control || size < STAMPED_SIZE ? size : STAMPED_SIZE;
    if (have < head + needed)
        return 0;
    if (control)
        take_control(number, opcode, p + head, size);
    else if (!take_data(number, p + head, size))
        malformed(number);
    else if (!(s->skip = size - needed))
        end_of_frame(s);
    return head + needed;
}

/* As many frames as are whole, of the expected size, and next in order. */
static uint8_t *take_run(struct subscriber *s, uint8_t *p, const uint8_t *end)
{
    uint32_t publishers = options.publishers;
    while ((size_t)(end - p) >= frame_bytes && (word_at(p) & head_mask) == head_bits) {
        const uint8_t *payload = p + head_bytes;
        uint32_t id = half_word_at(payload);
        if (id >= publishers || word_at(payload + 4) != s->next[id])
            break;
        s->next[id]++;
        s->received++;
        if (timed)
            record_latency(word_at(payload + NUMBERED_SIZE));
        p += frame_bytes;
    }
    return p;
}

static void take(int number, size_t got)
{
    struct subscriber *s = &subscribers[number];
    uint8_t *p = buffer + HELD_BYTES - s->held, *end = buffer + HELD_BYTES + got;
    memcpy(p, s->held_bytes, s->held);
    s->held = 0;
    while (p < end && connections[number].state == OPEN) {
        if (s->skip) {
            size_t step = s->skip < (size_t)(end - p) ? s->skip : (size_t)(end - p);
            p += step;
            if (!(s->skip -= step))
                end_of_frame(s);
            continue;
        }
        if (frame_bytes && !s->broken && number < options.subscribers)
            p = take_run(s, p, end);
        size_t used = take_frame(number, p, end - p);
        if (!used) {
            s->held = end - p;
            memcpy(s->held_bytes, p, s->held);
            return;
        }
        p += used;
    }
}

void subscriber_read(int number)
{
    const struct subscriber *s = &subscribers[number];
    uint64_t received = s->received;
    bool had_all = subscriber_has_all(number);
    ssize_t got = READ_BYTES;
    while (got == READ_BYTES && connections[number].state == OPEN) {
        got = recv(connections[number].fd, buffer + HELD_BYTES, READ_BYTES, 0);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            drop(number);
            break;
        }
        now = now_ns();
        take(number, got);
        if (s->received != received)
            totals.last_ns = now;       /* a ping is no progress */
    }
    if (!had_all && subscriber_has_all(number) && !is_stalled(number))
        totals.finished++;
}

/* What a stalled connection still holds, until it ends or the server sends nothing for a while. */
static void drain_stalled(int number)
{
    enum { PATIENCE_MS = 200 };
    struct pollfd connection = {.fd = connections[number].fd, .events = POLLIN};
    while (connections[number].state == OPEN && poll(&connection, 1, PATIENCE_MS) > 0)
        subscriber_read(number);
    totals.stalled_received += subscribers[number].received;
}

void subscribers_end(void)
{
    int reading = options.subscribers - options.stalled;
    for (int i = 0; i < reading; i++) {
        totals.delivered += subscribers[i].received;
        totals.lost += expected > subscribers[i].received ? expected - subscribers[i].received : 0;
    }
    uint64_t last_ns = totals.last_ns;
    timed = false;
    for (int i = reading; i < options.subscribers; i++)
        drain_stalled(i);
    totals.last_ns = last_ns;
}
