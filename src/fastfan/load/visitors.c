/* Subscribers that are not simply there.
 *
 * Visitors come and go: each stays about `stay_seconds`, closes properly, and comes back as a new connection. They take
 * turns, so that departures are spread evenly. Slow readers get their bytes doled out, a hundred times a second.
 */
#include "inside.h"

enum { SLOW_TICK_NS = 10 * 1000 * 1000 };

static void leave(struct load *l, int number) {
    say_goodbye(l, number);
    l->connections[number].state = LEAVING;
}

static void come_back(struct load *l, int number) {
    subscriber_forget(l, number);
    if (begin_connection(l, number)) l->report.visits++;
}

/* Whoever is here goes; whom the server would not have at the last attempt tries again. */
static void take_turn(struct load *l, int number) {
    struct connection *connection = &l->connections[number];
    if (connection->state == OPEN) leave(l, number);
    if (connection->state == GONE) come_back(l, number);
}

int64_t visitors_turn(struct load *l, uint64_t now) {
    const struct load_plan *plan = &l->plan;
    if (!plan->visitors || l->ending) return NO_WAIT_LIMIT;
    /* Here, and not when their connections end: an event of the old one may still wait in the same batch. */
    while (l->returning_count) come_back(l, (int)l->returning[--l->returning_count]);
    int first = first_of(plan, VISITOR);
    double interval_ns = plan->stay_seconds * 1e9 / plan->visitors;
    uint64_t due = (uint64_t)((double)(now - l->start_ns) / interval_ns);
    for (; l->turns_taken < due; l->turns_taken++)
        take_turn(l, first + (int)(l->turns_taken % (uint64_t)plan->visitors));
    uint64_t next = l->start_ns + (uint64_t)((double)(l->turns_taken + 1) * interval_ns);
    return next > now ? (int64_t)(next - now) : 0;
}

void visitor_left(struct load *l, int number) {
    struct connection *connection = &l->connections[number];
    shut(l, connection);
    connection->state = GONE;
    l->report.connections--;
    l->returning[l->returning_count++] = (uint32_t)number;
}

int64_t slow_turn(struct load *l, uint64_t now) {
    const struct load_plan *plan = &l->plan;
    if (!plan->slow) return NO_WAIT_LIMIT;
    if (!l->slow_tick_ns) l->slow_tick_ns = now;
    uint64_t passed = now - l->slow_tick_ns;
    if (passed < SLOW_TICK_NS) return (int64_t)(SLOW_TICK_NS - passed);
    l->slow_tick_ns = now;
    size_t share = (size_t)(plan->slow_bytes_per_second * (double)passed / 1e9) + 1;
    int first = first_of(plan, SLOW);
    for (int i = first; i < first + plan->slow; i++)
        if (l->connections[i].state == OPEN) subscriber_read_some(l, i, share);
    return SLOW_TICK_NS;
}
