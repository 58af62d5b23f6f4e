/* The reading side: every frame is looked at, none is copied, and all connections share one buffer.
 *
 * A frame as it ought to be costs a few comparisons (take_run); all others go the long way (take_frame), which also knows
 * control frames and frames cut by the end of a read. Only when a subscriber's order breaks does it get a bitmap of what
 * it has seen, from which late and doubled messages are told apart.
 */
#include "inside.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80, NO_STATUS = 1005, ABNORMAL = 1006 };

/* ---- life ---- */

/* What nearly all frames look like, where all have one size. */
static void expect_heads(struct load *l) {
    size_t size = l->plan.least_bytes;
    const uint8_t head[8] = {FIN | (l->plan.text ? TEXT : BINARY), size < 126 ? (uint8_t)size : 126,
                             (uint8_t)(size >> 8), (uint8_t)size};
    if (size != l->plan.most_bytes || size < STAMP_BYTES || size >= 65536 || l->plan.window) return;
    l->head_bytes = size < 126 ? 2 : 4;
    l->head_mask = l->head_bytes == 2 ? 0xffff : 0xffffffff;
    l->head_bits = word_at(head) & l->head_mask;
    l->frame_bytes = l->head_bytes + size;
}

bool subscribers_begin(struct load *l) {
    size_t count = (size_t)l->connections_count + 1, publishers = (size_t)l->publishers_a_topic;
    uint32_t *numbers = calloc(count * publishers + 1, sizeof *numbers);
    uint32_t *bits = calloc(count * publishers + 1, sizeof *bits);
    uint8_t **seen = calloc(count * publishers + 1, sizeof *seen);
    l->subscribers = calloc(count, sizeof *l->subscribers);
    l->buffer = malloc(HELD_BYTES + READ_BYTES);
    if (!numbers || !bits || !seen || !l->subscribers || !l->buffer) {
        free(numbers);
        free(bits);
        free(seen);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        l->subscribers[i].next = numbers + i * publishers;
        l->subscribers[i].seen_bits = bits + i * publishers;
        l->subscribers[i].seen = seen + i * publishers;
        if ((int)i < l->plan.subscribers && l->connections[i].kind != STEADY) subscriber_forget(l, (int)i);
    }
    expect_heads(l);
    return true;
}

/* What came before it was here is not its own: it takes the first message of each publisher as it comes. */
void subscriber_forget(struct load *l, int number) {
    struct subscriber *s = &l->subscribers[number];
    for (int i = 0; i < l->publishers_a_topic; i++) s->next[i] = UNKNOWN;
    s->skip = 0;
    s->held = 0;
}

bool subscriber_has_all(const struct load *l, int number) {
    return is_publisher(l, number) || l->subscribers[number].received >= messages_due_to(l, number);
}

/* ---- order ---- */

/* Doubled for as long as numbers grow; false when there is no memory, and then the message counts as it comes. */
static bool bitmap_reaches(struct subscriber *s, uint32_t slot, uint32_t number) {
    uint32_t bits = s->seen_bits[slot];
    if (number < bits) return true;
    uint32_t wanted = number < UINT32_MAX / 4 ? (number + 512) / 8 * 16 : UINT32_MAX / 8 * 8;
    uint8_t *bytes = realloc(s->seen[slot], wanted / 8);
    if (!bytes) return false;
    memset(bytes + bits / 8, 0, (wanted - bits) / 8);
    for (uint32_t i = 0; bits == 0 && i < s->next[slot] && i < wanted; i++) bytes[i / 8] |= (uint8_t)(1 << i % 8);
    s->seen[slot] = bytes;
    s->seen_bits[slot] = wanted;
    s->broken = true;
    return true;
}

/* True when the message was not here yet. */
static bool take_late_number(struct load *l, struct subscriber *s, uint32_t slot, uint32_t number) {
    if (!bitmap_reaches(s, slot, number > s->next[slot] ? number : s->next[slot])) return true;
    uint8_t *byte = &s->seen[slot][number / 8], bit = (uint8_t)(1 << number % 8);
    if (*byte & bit) {
        l->report.duplicated++;
        return false;
    }
    *byte |= bit;
    if (number < s->next[slot])
        l->report.reordered++;
    else
        s->next[slot] = number + 1;
    return true;
}

/* Of one that is not here from the first message to the last: what it misses between two counts at once. */
static bool take_number_of_guest(struct load *l, struct subscriber *s, uint32_t slot, uint32_t number, enum kind kind) {
    uint32_t expected = s->next[slot] == UNKNOWN ? number : s->next[slot];
    if (number < expected) {
        l->report.reordered++;
        return true;
    }
    if (kind == VISITOR) l->report.lost += number - expected;
    if (kind == SLOW) l->report.slow_missed += number - expected;
    s->next[slot] = number + 1;
    return true;
}

static bool take_number(struct load *l, int reader, uint32_t id, uint32_t number) {
    struct subscriber *s = &l->subscribers[reader];
    uint32_t slot = id / (uint32_t)l->plan.topics;
    enum kind kind = l->connections[reader].kind;
    if (kind != STEADY) return take_number_of_guest(l, s, slot, number, kind);
    if ((number != s->next[slot] || s->seen[slot]) && !take_late_number(l, s, slot, number)) return false;
    if (s->next[slot] == number) s->next[slot]++;
    if (l->plan.window) publisher_arrival(l, id, number);
    return true;
}

/* ---- frames ---- */

static void malformed(struct load *l, int number, const char *what, uint64_t value) {
    if (!l->report.malformed++)
        snprintf(l->report.fault, sizeof l->report.fault, "%s (%llu)", what, (unsigned long long)value);
    drop(l, number, ABNORMAL);
}

static void record_latency(struct load *l, uint64_t due_ns) {
    histogram_record(&l->report.latency, l->now > due_ns ? l->now - due_ns : 0);
}

static void end_of_frame(struct load *l, int number) {
    struct subscriber *s = &l->subscribers[number];
    if (!s->counts) return;
    s->received++;
    if (l->connections[number].kind > VISITOR) return;
    l->report.delivered++;
    l->report.delivered_bytes += s->size;
    if (l->timed) record_latency(l, s->due_ns);
}

static void take_control(struct load *l, int number, uint8_t opcode, const uint8_t *payload, size_t size) {
    struct connection *connection = &l->connections[number];
    if (opcode == PING && connection->state == OPEN) send_control(l, number, PONG, payload, size);
    if (opcode != CLOSE) return;
    if (connection->state == LEAVING) return visitor_left(l, number);
    send_control(l, number, CLOSE, payload, size < 2 ? 0 : 2);
    drop(l, number, size < 2 ? NO_STATUS : (unsigned)payload[0] << 8 | payload[1]);
}

/* The start of a data frame's payload; what is wrong with it, or NULL. */
static const char *take_data(struct load *l, int number, uint8_t opcode, const uint8_t *payload, uint64_t size) {
    const struct load_plan *plan = &l->plan;
    struct subscriber *s = &l->subscribers[number];
    s->counts = !is_publisher(l, number);           /* what a server has to say to a publisher is its own affair */
    if (!s->counts) return NULL;
    if (opcode != (plan->text ? TEXT : BINARY)) return "a message of the other type than published";
    if (size < plan->least_bytes || size > plan->most_bytes) return "a message of a size that nobody published";
    s->size = (uint32_t)size;
    if (size < MARK_BYTES) return NULL;
    uint64_t name = mark_gather(word_at(payload));
    uint32_t id = (uint32_t)(name >> 32), count = (uint32_t)name;
    if (id >= (uint32_t)plan->publishers || count >= l->publishers[id].made) return "a message that nobody published";
    if (id % (uint32_t)plan->topics != l->connections[number].topic) return "a message of another topic";
    if (size != (uint64_t)message_size(name, plan->least_bytes, plan->most_bytes)) return "a message cut or grown";
    s->counts = take_number(l, number, id, count);
    s->due_ns = size < STAMP_BYTES ? 0 : l->start_ns + mark_gather(word_at(payload + MARK_BYTES));
    return NULL;
}

/* Takes a frame's head and the start of its payload, or a control frame; 0 when more bytes are needed. */
static size_t take_frame(struct load *l, int number, const uint8_t *p, size_t have) {
    struct subscriber *s = &l->subscribers[number];
    size_t head = have < 2 ? 2 : p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2;
    if (have < 2 || have < head) return 0;
    uint64_t size = head == 2 ? p[1] : 0;
    for (size_t i = 2; i < head; i++) size = size << 8 | p[i];
    uint8_t opcode = p[0] & 15;
    bool control = opcode & 8;
    /* Fragments are legal, but no server that makes frames once sends any. */
    if ((p[0] & RESERVED) || !(p[0] & FIN) || (p[1] & MASKED) || opcode == CONTINUATION || (control && size > 125))
        return malformed(l, number, "a frame that begins with bytes of no use here", (uint64_t)p[0] << 8 | p[1]), have;
    size_t needed = control || size < STAMP_BYTES ? (size_t)size : STAMP_BYTES;
    if (have < head + needed) return 0;
    const char *wrong = control ? NULL : take_data(l, number, opcode, p + head, size);
    if (wrong)
        malformed(l, number, wrong, size);
    else if (control)
        take_control(l, number, opcode, p + head, (size_t)size);
    else if (!(s->skip = size - needed))
        end_of_frame(l, number);
    return head + needed;
}

/* As many frames as are whole, of the expected size, and next in order. */
static uint8_t *take_run(struct load *l, int number, uint8_t *p, const uint8_t *end) {
    const size_t frame = l->frame_bytes, head = l->head_bytes;
    const uint32_t publishers = (uint32_t)l->plan.publishers, topics = (uint32_t)l->plan.topics;
    struct subscriber *s = &l->subscribers[number];
    uint8_t *start = p;
    while ((size_t)(end - p) >= frame && (word_at(p) & l->head_mask) == l->head_bits) {
        uint64_t name = mark_gather(word_at(p + head));
        uint32_t id = (uint32_t)(name >> 32);
        if (id >= publishers || (topics > 1 && id % topics != l->connections[number].topic)) break;
        uint32_t *next = &s->next[topics > 1 ? id / topics : id];
        if (*next != (uint32_t)name || *next >= l->publishers[id].made) break;
        ++*next;
        if (l->timed) record_latency(l, l->start_ns + mark_gather(word_at(p + head + MARK_BYTES)));
        p += frame;
    }
    uint64_t frames = (uint64_t)(p - start) / frame;
    s->received += frames;
    l->report.delivered += frames;
    l->report.delivered_bytes += frames * (frame - head);
    return p;
}

static void take(struct load *l, int number, size_t got) {
    const struct connection *connection = &l->connections[number];
    struct subscriber *s = &l->subscribers[number];
    uint8_t *p = l->buffer + HELD_BYTES - s->held, *end = l->buffer + HELD_BYTES + got;
    memcpy(p, s->held_bytes, s->held);
    s->held = 0;
    while (p < end && (connection->state == OPEN || connection->state == LEAVING)) {
        if (s->skip) {
            size_t step = s->skip < (size_t)(end - p) ? (size_t)s->skip : (size_t)(end - p);
            p += step;
            if (!(s->skip -= step)) end_of_frame(l, number);
            continue;
        }
        if (l->frame_bytes && !s->broken && connection->kind <= VISITOR) p = take_run(l, number, p, end);
        size_t used = take_frame(l, number, p, (size_t)(end - p));
        if (!used) {
            s->held = (uint32_t)(end - p);
            memcpy(s->held_bytes, p, s->held);
            return;
        }
        p += used;
    }
}

/* ---- reading ---- */

static void on_end(struct load *l, int number) {
    if (l->connections[number].state == LEAVING)
        visitor_left(l, number);
    else
        drop(l, number, ABNORMAL);
}

/* Bytes read; 0 when there are none for now, or no more. */
static size_t read_once(struct load *l, int number, size_t limit) {
    ssize_t got = recv(l->connections[number].fd, l->buffer + HELD_BYTES, limit, 0);
    int error = errno;
    if (got < (ssize_t)limit) poller_rearm(&l->poller, l->connections[number].fd, READY_READ);
    if (got < 0 && error == EAGAIN) return 0;
    if (got <= 0) return on_end(l, number), 0;
    l->now = clock_ns();
    take(l, number, (size_t)got);
    return (size_t)got;
}

void subscriber_read_some(struct load *l, int number, size_t limit) {
    while (limit && l->connections[number].state == OPEN) {
        size_t got = read_once(l, number, limit < READ_BYTES ? limit : READ_BYTES);
        if (!got) return;
        limit -= got;
    }
}

/* A short read took everything; the end of the stream is no byte, and has to be asked for. */
void subscriber_read(struct load *l, int number, bool to_the_end) {
    const struct connection *connection = &l->connections[number];
    uint64_t delivered = l->report.delivered;
    size_t got = READ_BYTES;
    while ((got == READ_BYTES || (got && to_the_end)) && (connection->state == OPEN || connection->state == LEAVING))
        got = read_once(l, number, READ_BYTES);
    if (l->report.delivered != delivered) l->last_ns = l->now;      /* a ping is no progress */
    subscriber_settle(l, number);
}

void subscriber_await(struct load *l, int number) {
    struct subscriber *s = &l->subscribers[number];
    s->awaited = l->connections[number].kind == STEADY && l->connections[number].state != GONE;
    l->waiting += s->awaited;
    subscriber_settle(l, number);
}

void subscriber_settle(struct load *l, int number) {
    struct subscriber *s = &l->subscribers[number];
    if (!s->awaited || (l->connections[number].state != GONE && !subscriber_has_all(l, number))) return;
    s->awaited = false;
    l->waiting--;
}

/* ---- the end ---- */

/* What a stalled connection still holds, until it ends or the server sends nothing for a while. */
static void drain_stalled(struct load *l, int number, uint64_t deadline_ns) {
    enum { PATIENCE_NS = 200 * 1000 * 1000, NS_A_MS = 1000 * 1000 };
    struct pollfd connection = {.fd = l->connections[number].fd, .events = POLLIN};
    for (;;) {
        uint64_t now = clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
        int wait_ms = (int)((left < PATIENCE_NS ? left : PATIENCE_NS) / NS_A_MS);
        if (l->connections[number].state != OPEN || poll(&connection, 1, wait_ms) <= 0) return;
        if (!read_once(l, number, READ_BYTES)) return;
    }
}

void subscribers_end(struct load *l) {
    uint64_t deadline_ns = clock_ns() + 2000000000u;        /* for all the stalled ones together */
    for (int i = 0; i < l->plan.subscribers; i++) {
        enum kind kind = l->connections[i].kind;
        if (kind == STALLED && !load_acquire(&l->stopping)) drain_stalled(l, i, deadline_ns);
        uint64_t received = l->subscribers[i].received, due = messages_due_to(l, i);
        if (kind == STEADY) l->report.lost += due > received ? due - received : 0;
        /* Those too small for a number are told apart by their count only. */
        if (kind == STEADY) l->report.duplicated += received > due ? received - due : 0;
        if (kind == STALLED) l->report.stalled_received += received;
        if (kind == SLOW) l->report.slow_received += received;
    }
}
