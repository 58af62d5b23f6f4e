/* load: publishes to a WebSocket publish/subscribe server and checks what every subscriber gets.
 *
 *     load.c         the steps: connect, rest, publish, close; and their loop
 *     connect.c      upgrades connections, a window of them at a time
 *     publish.c      makes and sends the publishers' frames: paced, in a window, or as fast as the server takes them
 *     subscribe.c    reads every subscriber and checks every frame
 *     visitors.c     subscribers that come and go, and those that read slowly
 *     mark.h         what a message carries, so that the other end knows it
 *     histogram.h    latencies, to 1 in 128 of their value
 *
 * One `struct load` is one load with all its connections: subscribers first (steady ones, visitors, slow ones, stalled
 * ones, in this order), then publishers; number N is of topic N % topics, each kind counted from 0.
 *
 * Contract: load_new() copies the plan; what it points to has to live as long as the load. Steps are called in order,
 * each once, by one thread at a time; they return 0 or -errno, and then load_error() says more. -ECANCELED is the
 * answer to load_stop(). load_stop(), load_report_now() and nothing else may be called by other threads meanwhile.
 */
#ifndef FASTFAN_LOAD_H
#define FASTFAN_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

struct load_plan {
    const char *host;               /* an IPv4 or IPv6 address in digits */
    int port;
    const char *path, *query;       /* of the request; with several topics each has /N behind the path */
    const char *headers;            /* whole lines, all that are needed but the role's */
    int subscribers, publishers, topics;
    int visitors, slow, stalled;    /* of the subscribers */
    double stay_seconds;            /* of a visitor */
    double slow_bytes_per_second;   /* of each slow one */
    uint32_t messages;              /* of each publisher; 0: until `seconds` are over */
    double seconds;
    size_t least_bytes, most_bytes; /* of a payload; each message has a size between them of its own */
    bool text;
    double rate;                    /* messages a second of all publishers; 0: no rate */
    uint32_t window;                /* messages of a publisher on the way at a time; 0: no window */
    int connecting;                 /* upgrades under way at a time */
    double ramp_up_seconds;         /* over which connections are begun */
    double patience_seconds;        /* without progress after which a step ends */
    int receive_buffer_bytes;       /* SO_RCVBUF of subscribers; 0: the kernel grows it */
};

enum load_step { LOAD_NEW, LOAD_CONNECTING, LOAD_RESTING, LOAD_PUBLISHING, LOAD_CLOSED };

/* What came of it, so far. Times are nanoseconds; "cpu" is of the thread that carries out the steps. */
struct load_report {
    enum load_step step;
    uint64_t connections;           /* open */
    uint64_t connect_ns, connect_cpu_ns;
    uint64_t publish_ns;            /* from the first message's time to the last byte received */
    uint64_t publish_wall_ns, publish_cpu_ns;
    uint64_t published;
    uint64_t delivered, delivered_bytes;        /* to steady subscribers and visitors; payload bytes */
    uint64_t lost, duplicated, reordered;       /* of what they should have got */
    uint64_t malformed;             /* connections that got what nobody published, and were dropped for it */
    uint64_t departed;              /* steady subscribers and publishers that the server closed */
    uint64_t close_code;            /* of the last of these; 1006: without a Close */
    uint64_t visits, failed_visits;
    uint64_t slow_received, slow_missed, slow_departed;
    uint64_t stalled_received, stalled_departed;
    char fault[120];                /* what the first malformed one was */
    struct histogram upgrade;       /* connect() to 101 */
    struct histogram latency;       /* message due (or made) to its last byte at one subscriber */
    struct histogram everybody;     /* ... at the last one; with a window only */
};

struct load;

struct load *load_new(const struct load_plan *plan);        /* NULL: no memory or descriptors, see errno */
void load_free(struct load *load);                          /* closes what is open */
int load_connect(struct load *load);
int load_rest(struct load *load, double seconds);
int load_publish(struct load *load);
void load_close(struct load *load);                         /* Close 1000 to everybody, and the descriptors */
void load_stop(struct load *load);
void load_report_now(struct load *load, struct load_report *out);
const char *load_error(const struct load *load);            /* belongs to the load */

#endif
