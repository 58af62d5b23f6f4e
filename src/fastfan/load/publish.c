/* The publishers: masked frames, made a buffer at a time.
 *
 *     paced         an open loop: a message carries the time it was due, not the time it was made, so that a server (or a
 *                   load) that stands still is charged for everything that waited meanwhile (coordinated omission)
 *     in a window   a closed loop: so many messages of each publisher are on the way, a message carries the time it was
 *                   made
 *     unthrottled   as much as the socket takes
 *
 * Publishers that may send stand in a ring, so a turn costs what is to be sent, whatever their number.
 */
#include "inside.h"

#include "../frame.h"
#include "../unmask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_BUFFER_BYTES = 4 << 10,
    MOST_BUFFER_BYTES = 256 << 10,
    ALL_BUFFERS_BYTES = 16 << 20,
    BYTES_A_TURN = 1 << 20,         /* then the subscribers are looked at */
};

static size_t buffer_bytes(const struct load_plan *plan) {
    size_t bytes = ALL_BUFFERS_BYTES / (size_t)(plan->publishers + 1);
    if (bytes > MOST_BUFFER_BYTES) bytes = MOST_BUFFER_BYTES;
    if (bytes < LEAST_BUFFER_BYTES) bytes = LEAST_BUFFER_BYTES;
    size_t needed = CONTROL_BYTES + LONGEST_HEAD + plan->most_bytes;
    return bytes > needed ? bytes : needed;
}

bool publishers_begin(struct load *l) {
    const struct load_plan *plan = &l->plan;
    l->buffer_bytes = buffer_bytes(plan);
    l->publishers = calloc((size_t)plan->publishers + 1, sizeof *l->publishers);
    l->ring = calloc((size_t)plan->publishers + 1, sizeof *l->ring);
    l->payload = malloc(plan->most_bytes + STAMP_BYTES);
    if (!l->publishers || !l->ring || !l->payload) return false;
    for (size_t i = 0; i < plan->most_bytes; i++) l->payload[i] = (uint8_t)('a' + i % 26);
    for (int i = 0; i < plan->publishers; i++) {
        struct publisher *p = &l->publishers[i];
        p->frames = malloc(l->buffer_bytes);
        if (!p->frames) return false;
        if (!plan->window) continue;
        p->arrivals = calloc(plan->window, sizeof *p->arrivals);
        p->made_ns = calloc(plan->window, sizeof *p->made_ns);
        if (!p->arrivals || !p->made_ns) return false;
    }
    return true;
}

/* ---- the ring ---- */

static void queue(struct load *l, uint32_t id) {
    struct publisher *p = &l->publishers[id];
    if (p->queued || p->blocked || l->connections[l->plan.subscribers + (int)id].state != OPEN) return;
    p->queued = true;
    l->ring[(l->ring_first + l->ring_count++) % (uint32_t)l->plan.publishers] = id;
}

static uint32_t take_queued(struct load *l) {
    uint32_t id = l->ring[l->ring_first];
    l->ring_first = (l->ring_first + 1) % (uint32_t)l->plan.publishers;
    l->ring_count--;
    l->publishers[id].queued = false;
    return id;
}

/* ---- what each has to publish, and when ---- */

static double interval_ns(const struct load *l) { return 1e9 / l->plan.rate; }

/* Message m of publisher i is the (m * publishers + i)-th of all. */
static uint64_t due_ns(const struct load *l, uint32_t id, uint32_t number) {
    uint64_t nth = (uint64_t)number * (uint64_t)l->plan.publishers + id;
    return l->start_ns + (uint64_t)((double)nth * interval_ns(l));
}

static uint32_t goal_of(const struct load *l, uint32_t id) {
    const struct load_plan *plan = &l->plan;
    if (plan->messages) return plan->messages;
    if (plan->rate == 0) return UINT32_MAX;
    uint64_t all = (uint64_t)(plan->rate * plan->seconds + 0.5), publishers = (uint64_t)plan->publishers;
    return (uint32_t)((all + publishers - 1 - id) / publishers);
}

void publishers_start(struct load *l) {
    l->timed = (l->plan.rate > 0 || l->plan.window) && l->plan.least_bytes >= STAMP_BYTES;
    /* A rate makes a number of messages out of the seconds, and what is late is late. */
    bool counted = l->plan.messages || l->plan.rate > 0;
    l->deadline_ns = counted ? UINT64_MAX : l->start_ns + (uint64_t)(l->plan.seconds * 1e9);
    for (int i = 0; i < l->plan.publishers; i++) {
        bool is_open = l->connections[l->plan.subscribers + i].state == OPEN;
        l->publishers[i].goal = is_open ? goal_of(l, (uint32_t)i) : 0;
        l->reached += l->publishers[i].goal == 0;
        if (l->plan.rate == 0) queue(l, (uint32_t)i);
    }
}

/* ---- frames ---- */

/* A server's header with what a client's has beyond it: the mask bit and the key (RFC 6455 section 5.2). */
static size_t write_head(const struct load *l, uint8_t *out, size_t size, uint32_t key) {
    size_t head = frame_write_header(out, l->plan.text ? TEXT : BINARY, size);
    out[1] |= 0x80;
    memcpy(out + head, &key, sizeof key);
    return head + sizeof key;
}

/* Only what fits whole, as mark.h has it. The filler under the marks of a longer message is not put back: it would be
 * written over again by the next. */
static void mark(struct load *l, uint64_t name, size_t size, uint64_t time) {
    uint64_t words[2] = {mark_spread(name), mark_spread(time)};
    if (size >= MARK_BYTES) memcpy(l->payload, words, size >= STAMP_BYTES ? STAMP_BYTES : MARK_BYTES);
}

/* Whether the publisher has a message to make now; the time it carries. */
static bool message_due(const struct load *l, uint32_t id, uint64_t now, uint64_t *time) {
    const struct publisher *p = &l->publishers[id];
    *time = l->plan.rate > 0 ? due_ns(l, id, p->made) : now;
    if (p->made >= p->goal || *time > now || now >= l->deadline_ns) return false;
    return !l->plan.window || p->made - p->complete < l->plan.window;
}

static void make_frames(struct load *l, uint32_t id, uint64_t now) {
    struct publisher *p = &l->publishers[id];
    uint64_t time;
    p->begin = 0;
    p->end = p->control_size;
    memcpy(p->frames, p->control, p->control_size);
    p->control_size = 0;
    while (message_due(l, id, now, &time)) {
        uint64_t name = message_name(id, p->made);
        size_t size = message_size(name, l->plan.least_bytes, l->plan.most_bytes);
        if (p->end + LONGEST_HEAD + size > l->buffer_bytes) break;
        uint32_t key = random_word(l);
        mark(l, name, size, time - l->start_ns);
        p->end += write_head(l, p->frames + p->end, size, key);
        unmask(p->frames + p->end, l->payload, size, key);     /* its own inverse */
        p->end += size;
        if (l->plan.window) p->made_ns[p->made % l->plan.window] = time;
        p->made++;
        l->report.published++;
        l->reached += p->made == p->goal;
    }
    l->unsent += p->begin < p->end;
}

/* ---- sending ---- */

/* Bytes that the socket took. */
static size_t publish(struct load *l, uint32_t id, uint64_t now) {
    struct publisher *p = &l->publishers[id];
    int number = l->plan.subscribers + (int)id;
    uint64_t unused;
    if (p->begin == p->end) make_frames(l, id, now);
    if (p->begin == p->end) return 0;
    ssize_t sent = send(l->connections[number].fd, p->frames + p->begin, p->end - p->begin, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(l, number, 1006), 0;
    p->begin += sent > 0 ? (size_t)sent : 0;
    p->blocked = p->begin < p->end;
    if (p->blocked) poller_rearm(&l->poller, l->connections[number].fd, READY_WRITE);
    l->unsent -= !p->blocked;
    if (p->control_size || message_due(l, id, now, &unused)) queue(l, id);
    if (sent > 0 && l->plan.subscribers == l->plan.slow + l->plan.stalled) l->last_ns = now;  /* no other progress */
    return sent > 0 ? (size_t)sent : 0;
}

/* Those whose time has come since the last turn. */
static int64_t queue_due(struct load *l, uint64_t now) {
    uint64_t publishers = (uint64_t)l->plan.publishers, due = l->start_ns;
    for (; l->reached < publishers; l->next_due++) {
        due = l->start_ns + (uint64_t)((double)l->next_due * interval_ns(l));
        if (due > now) return (int64_t)(due - now);
        queue(l, (uint32_t)(l->next_due % publishers));
    }
    return NO_WAIT_LIMIT;
}

int64_t publishers_turn(struct load *l, uint64_t now) {
    int64_t wait = l->plan.rate > 0 && !l->ending ? queue_due(l, now) : NO_WAIT_LIMIT;
    for (size_t sent = 0; l->ring_count && sent < BYTES_A_TURN;) sent += publish(l, take_queued(l), now);
    return l->ring_count ? 0 : wait;
}

void publisher_writable(struct load *l, int number) {
    uint32_t id = (uint32_t)(number - l->plan.subscribers);
    l->publishers[id].blocked = false;
    if (l->report.step == LOAD_PUBLISHING) queue(l, id);
}

void publisher_gone(struct load *l, int number) {
    struct publisher *p = &l->publishers[number - l->plan.subscribers];
    l->unsent -= p->begin < p->end;
    l->reached += p->made < p->goal;
    p->begin = p->end = p->control_size = 0;
    p->goal = p->made;
}

bool publishing_is_over(struct load *l, uint64_t now) {
    bool all_made = l->reached == (uint32_t)l->plan.publishers || now >= l->deadline_ns;
    if (!all_made || l->unsent) return false;
    for (int i = 0; i < l->plan.publishers; i++) l->publishers[i].goal = l->publishers[i].made;
    return true;
}

uint64_t messages_due_to(const struct load *l, int subscriber) {
    uint64_t messages = 0;
    for (int id = (int)l->connections[subscriber].topic; id < l->plan.publishers; id += l->plan.topics)
        messages += l->publishers[id].made;
    return messages;
}

/* ---- what comes from the reading side ---- */

/* RFC 6455 5.5.3: of several pings only the last one needs an answer. */
bool publisher_keeps(struct load *l, int number, const uint8_t *control, size_t size) {
    struct publisher *p = is_publisher(l, number) ? &l->publishers[number - l->plan.subscribers] : NULL;
    if (!p || p->begin == p->end) return false;
    memcpy(p->control, control, size);
    p->control_size = size;
    return true;
}

void publisher_arrival(struct load *l, uint32_t id, uint32_t number) {
    struct publisher *p = &l->publishers[id];
    uint32_t window = l->plan.window, everybody = l->steady_of_topic[id % (uint32_t)l->plan.topics];
    p->arrivals[number % window]++;
    while (p->complete < p->made && p->arrivals[p->complete % window] >= everybody) {
        p->arrivals[p->complete % window] = 0;
        histogram_record(&l->report.everybody, l->now - p->made_ns[p->complete % window]);
        p->complete++;
    }
    if (p->complete < p->goal) queue(l, id);
}
