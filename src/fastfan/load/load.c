#include "inside.h"

#include "../unmask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 512, SHOW_EVERY_NS = 50 * 1000 * 1000 };

static uint64_t thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int load_fail(struct load *l, const char *what, int error) {
    snprintf(l->error, sizeof l->error, "%s%s%s", what, error ? ": " : "", error ? strerror(error) : "");
    return error ? -error : -EPROTO;
}

/* xorshift: a mask must not be the same every time, and it must not cost anything. */
uint32_t random_word(struct load *l) {
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return (uint32_t)(l->random >> 16);
}

/* ---- life ---- */

static bool find_server(struct load *l) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&l->server;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&l->server;
    if (inet_pton(AF_INET, l->plan.host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)l->plan.port);
        l->server_bytes = sizeof *v4;
    } else if (inet_pton(AF_INET6, l->plan.host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)l->plan.port);
        l->server_bytes = sizeof *v6;
    }
    return l->server_bytes;
}

int first_of(const struct load_plan *plan, enum kind kind) {
    const int counts[] = {[VISITOR] = plan->visitors, [SLOW] = plan->slow, [STALLED] = plan->stalled};
    int first = kind == STEADY ? 0 : plan->subscribers;
    for (int each = STALLED; kind != STEADY && each >= (int)kind; each--) first -= counts[each];
    return first;
}

static enum kind kind_of(const struct load_plan *plan, int number) {
    enum kind kind = PUBLISHER;
    while (number < first_of(plan, kind)) kind--;
    return kind;
}

static bool connections_begin(struct load *l) {
    const struct load_plan *plan = &l->plan;
    l->connections = malloc(((size_t)l->connections_count + 1) * sizeof *l->connections);
    for (int i = 0; l->connections && i < l->connections_count; i++) l->connections[i].fd = -1;
    l->returning = calloc((size_t)plan->visitors + 1, sizeof *l->returning);
    l->steady_of_topic = calloc((size_t)plan->topics, sizeof *l->steady_of_topic);
    if (!l->connections || !l->returning || !l->steady_of_topic) return false;
    for (int i = 0; i < l->connections_count; i++) {
        int nth = is_publisher(l, i) ? i - plan->subscribers : i;
        enum kind kind = kind_of(plan, i);
        l->connections[i] = (struct connection){.fd = -1, .kind = kind, .topic = (uint32_t)(nth % plan->topics)};
        l->steady_of_topic[nth % plan->topics] += kind == STEADY;
    }
    return true;
}

struct load *load_new(const struct load_plan *plan) {
    struct load *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->plan = *plan;
    l->random = 0x9e3779b97f4a7c15;
    l->connections_count = plan->subscribers + plan->publishers;
    l->publishers_a_topic = (plan->publishers + plan->topics - 1) / plan->topics;
    mutex_init(&l->showing);
    int result = poller_open(&l->poller);
    if (result == 0) result = poller_fileno(&l->poller);
    if (result >= 0 && find_server(l) && connections_begin(l) && subscribers_begin(l) && publishers_begin(l)) return l;
    load_free(l);
    errno = result < 0 ? -result : ENOMEM;
    return NULL;
}

void load_free(struct load *l) {
    for (int i = 0; l->connections && i < l->connections_count; i++)
        if (l->connections[i].fd >= 0) close(l->connections[i].fd);
    if (l->subscribers && l->subscribers[0].seen) {
        size_t seen = (size_t)l->connections_count * (size_t)l->publishers_a_topic;
        for (size_t i = 0; i < seen; i++) free(l->subscribers[0].seen[i]);
        free(l->subscribers[0].seen);
        free(l->subscribers[0].seen_bits);
        free(l->subscribers[0].next);
    }
    for (int i = 0; l->publishers && i < l->plan.publishers; i++) {
        free(l->publishers[i].frames);
        free(l->publishers[i].arrivals);
        free(l->publishers[i].made_ns);
    }
    free(l->subscribers);
    free(l->publishers);
    free(l->connections);
    free(l->returning);
    free(l->steady_of_topic);
    free(l->payload);
    free(l->ring);
    free(l->buffer);
    poller_close(&l->poller);
    mutex_destroy(&l->showing);
    free(l);
}

const char *load_error(const struct load *l) { return l->error; }

/* ---- what others may do meanwhile ---- */

void load_stop(struct load *l) {
    store_release(&l->stopping, 1);
    poller_wake(&l->poller);
}

static bool stopped(struct load *l) { return load_acquire(&l->stopping); }

static void show(struct load *l) {
    mutex_lock(&l->showing);
    l->shown = l->report;
    mutex_unlock(&l->showing);
    l->shown_ns = clock_ns();
}

void load_report_now(struct load *l, struct load_report *out) {
    mutex_lock(&l->showing);
    *out = l->shown;
    mutex_unlock(&l->showing);
}

/* ---- connections ---- */

void shut(struct load *l, struct connection *connection) {
    if (connection->fd < 0) return;
    poller_remove(&l->poller, connection->fd);
    close(connection->fd);
    connection->fd = -1;
}

/* RFC 6455 section 5.5: at most 125 bytes of payload. A control frame is so short that a socket takes it whole, unless it
 * is full, and then the peer has bytes to read that stand for a pong as well. */
void send_control(struct load *l, int number, enum opcode opcode, const uint8_t *payload, size_t size) {
    uint8_t frame[CONTROL_BYTES] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | size)};
    uint32_t key = random_word(l);
    memcpy(frame + 2, &key, 4);
    unmask(frame + 6, payload, size, key);
    if (!publisher_keeps(l, number, frame, 6 + size)) send(l->connections[number].fd, frame, 6 + size, MSG_NOSIGNAL);
}

void say_goodbye(struct load *l, int number) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    send_control(l, number, CLOSE, normal, sizeof normal);
}

void drop(struct load *l, int number, unsigned close_code) {
    struct connection *connection = &l->connections[number];
    struct load_report *report = &l->report;
    enum state before = connection->state;
    shut(l, connection);
    connection->state = GONE;
    report->connections--;
    switch (connection->kind) {
    case STALLED: report->stalled_departed++; return;
    case SLOW: report->slow_departed++; return;
    case VISITOR: report->failed_visits += before == OPEN; return;
    case PUBLISHER: publisher_gone(l, number); break;
    case STEADY: break;
    }
    if (report->step != LOAD_PUBLISHING || !l->ending || !subscriber_has_all(l, number)) {
        report->departed++;
        report->close_code = close_code;
    }
    subscriber_settle(l, number);
}

static void on_ready(struct load *l, int number, uint32_t ready) {
    struct connection *connection = &l->connections[number];
    if (connection->state == CONNECTING || connection->state == UPGRADING) connection_ready(l, number, ready);
    if (connection->state != OPEN && connection->state != LEAVING) return;
    if (is_publisher(l, number) && (ready & READY_WRITE)) publisher_writable(l, number);
    if ((connection->state == OPEN || connection->state == LEAVING) && (ready & READY_READ))
        subscriber_read(l, number, ready & READY_HANGUP);
}

/* The poller counts in milliseconds; paced messages need it finer, so the waiting is done on its descriptor. */
void turn(struct load *l, int64_t wait_ns) {
    struct poller_event events[EVENTS_AT_ONCE];
    struct pollfd all = {.fd = l->poller.fd, .events = POLLIN};
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    if (wait_ns > 0) ppoll(&all, 1, &wait, NULL);
    int ready = poller_wait(&l->poller, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < ready; i++)
        if (events[i].token < POLLER_TICK) on_ready(l, (int)events[i].token, events[i].ready);
    if (clock_ns() - l->shown_ns > SHOW_EVERY_NS) show(l);
}

/* ---- steps ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static uint64_t seconds_to_ns(double seconds) { return (uint64_t)(seconds * 1e9); }

/* Connections that may have been begun by now. */
static int born_by(const struct load *l, uint64_t now) {
    double share = l->plan.ramp_up_seconds > 0 ? (double)(now - l->start_ns) / 1e9 / l->plan.ramp_up_seconds : 1;
    return share >= 1 ? l->connections_count : (int)(share * l->connections_count) + 1;
}

static int connect_until_open(struct load *l) {
    const uint64_t patience = seconds_to_ns(l->plan.patience_seconds);
    uint64_t open = 0, progress_ns = l->start_ns;
    /* Not until all are open: the server may have closed some of them again. */
    while (l->born < l->connections_count || l->under_way) {
        uint64_t now = clock_ns();
        int due = born_by(l, now);
        while (l->born < due && l->under_way < l->plan.connecting && begin_connection(l, l->born)) l->born++;
        if (l->refused) return -ECONNREFUSED;
        if (stopped(l)) return -ECANCELED;
        turn(l, l->born == l->connections_count ? 100000000 : 1000000);
        if (l->report.connections != open || !l->under_way) progress_ns = now;
        open = l->report.connections;
        if (now - progress_ns > patience) return load_fail(l, "no answer to an upgrade", ETIMEDOUT);
    }
    return l->refused ? -ECONNREFUSED : 0;
}

int load_connect(struct load *l) {
    uint64_t cpu = thread_cpu_ns();
    poller_precise();
    l->report.step = LOAD_CONNECTING;
    l->start_ns = clock_ns();
    int result = connect_until_open(l);
    l->report.connect_ns = clock_ns() - l->start_ns;
    l->report.connect_cpu_ns = thread_cpu_ns() - cpu;
    show(l);
    return result;
}

int load_rest(struct load *l, double seconds) {
    uint64_t end = clock_ns() + seconds_to_ns(seconds);
    l->report.step = LOAD_RESTING;
    for (uint64_t now = clock_ns(); now < end && !stopped(l); now = clock_ns())
        turn(l, least((int64_t)(end - now), 100000000));
    show(l);
    return stopped(l) ? -ECANCELED : 0;
}

static void count_waiting(struct load *l) {
    l->ending = true;
    for (int i = 0; i < l->plan.subscribers; i++) subscriber_await(l, i);
}

static int publish_until_delivered(struct load *l) {
    const uint64_t patience = seconds_to_ns(l->plan.patience_seconds);
    const int64_t nap = least((int64_t)patience, 100000000);
    for (;;) {
        uint64_t now = clock_ns();
        int64_t wait = least(least(publishers_turn(l, now), nap), least(visitors_turn(l, now), slow_turn(l, now)));
        if (!l->ending && publishing_is_over(l, now)) count_waiting(l);
        if (stopped(l)) return -ECANCELED;
        if ((l->ending && !l->waiting) || (now > l->last_ns && now - l->last_ns > patience)) return 0;
        turn(l, wait);
    }
}

int load_publish(struct load *l) {
    l->report.step = LOAD_PUBLISHING;
    l->start_ns = l->last_ns = clock_ns();
    uint64_t cpu = thread_cpu_ns();
    publishers_start(l);
    int result = publish_until_delivered(l);
    l->report.publish_cpu_ns = thread_cpu_ns() - cpu;       /* within the wall time, so that the share is one */
    l->report.publish_wall_ns = clock_ns() - l->start_ns;
    l->report.publish_ns = l->last_ns - l->start_ns;
    subscribers_end(l);
    show(l);
    return result;
}

void load_close(struct load *l) {
    l->report.step = LOAD_CLOSED;
    for (int i = 0; i < l->connections_count; i++) {
        struct connection *connection = &l->connections[i];
        if (connection->state == OPEN) say_goodbye(l, i);
        shut(l, connection);
        connection->state = GONE;
    }
    show(l);
}
