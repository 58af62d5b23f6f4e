/* load: the load side of the benchmarks, in one thread.
 *
 *     load.c             options, the loop, and the order of things
 *     load_connect.c     upgrades every connection, a window of them at a time
 *     load_publish.c     makes and sends the publishers' frames, paced or as fast as the server takes them
 *     load_subscribe.c   reads every subscriber and checks every frame
 *     load_report.c      prints what came of it
 *
 * A payload starts with the publisher's number (4 bytes), the message's number from 0 (8) and the time it was due (8),
 * each in the machine's byte order; a shorter payload has only what fits whole, and one under 12 bytes is merely
 * counted. The rest is filler that nobody looks at: a frame of the wrong length shows in the next frame's head.
 *
 * Connections are numbered: subscribers first, the last of which are the stalled ones, then publishers.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NUMBERED_SIZE = 12,             /* payloads from this size on carry the message's number ... */
    STAMPED_SIZE = 20,              /* ... and from this one on the time */
    READ_BYTES = 256 << 10,         /* per recv: stays in the second level cache */
    HELD_BYTES = 144,               /* more than a head with the start of its payload, or a whole control frame */
    CONTROL_BYTES = 6 + 125,        /* the longest control frame of a client */
    LATENCY_BUCKETS = 59 * 64,      /* a nanosecond value to 1/64: 64 buckets for each place of its leading bit */
};

struct options {
    const char *host, *topic;
    int port, subscribers, publishers, stalled, window, receive_buffer;
    uint64_t messages;              /* of each publisher */
    size_t size;
    double rate;                    /* messages a second of all publishers; 0: as fast as the server takes them */
    double idle, timeout;           /* seconds */
    bool json;
};

enum state { UNBORN, CONNECTING, UPGRADING, OPEN, GONE };

struct connection {
    int fd;
    enum state state;
};

struct subscriber {
    uint64_t received;              /* different messages */
    uint64_t skip;                  /* bytes of the present frame that are still to come */
    uint64_t *next;                 /* by publisher: the number of the message that must come now */
    uint8_t **seen;                 /* by publisher: bitmap of what came, made when the order first breaks */
    uint64_t due_ns;                /* of the present frame */
    uint32_t held;                  /* bytes of an incomplete head, in held_bytes */
    bool counts;                    /* the present frame is no duplicate */
    bool broken;                    /* has a bitmap */
    uint8_t held_bytes[HELD_BYTES];
};

struct publisher {
    uint8_t *frames;                /* made and not sent yet: from begin to end */
    size_t begin, end;
    uint64_t made;
    bool blocked;                   /* waits for EPOLLOUT */
    size_t control_size;            /* a control frame that waits for the end of what is half sent */
    uint8_t control[CONTROL_BYTES];
};

struct totals {
    uint64_t connect_ns, connect_cpu_ns;
    uint64_t start_ns, last_ns;     /* first byte published, last byte received */
    uint64_t wall_ns, cpu_ns, user_ns;      /* of the load side, while publishing */
    uint64_t delivered, lost, duplicated, reordered, malformed;
    uint64_t stalled_received;
    uint64_t latency[LATENCY_BUCKETS];
    int publishing;                 /* publishers that have not sent everything */
    int finished;                   /* subscribers that have everything, or are gone */
    int departed;                   /* connections that were closed on us before that */
    int stalled_gone;
    int close_code;                 /* the last one from a server whose client had not got everything */
};

extern struct options options;
extern struct totals totals;
extern struct connection *connections;
extern int epoll_fd;

/* load.c */
uint64_t now_ns(void);
uint32_t random_word(void);
void die(const char *what) __attribute__((noreturn));
bool is_stalled(int number);
void drop(int number);                      /* closes a connection, and counts it as departed if it was to stay */
void send_control(int number, uint8_t opcode, const uint8_t *payload, size_t size);

/* load_connect.c */
void connect_all(void);                     /* returns when all are open; exits when one is refused */

/* load_publish.c */
void publishers_begin(void);
int64_t publishers_turn(uint64_t now);      /* sends; returns how many ns the loop may wait; -1: for an event */
void publisher_writable(int number);
bool publisher_keeps(int number, const uint8_t *control, size_t size);     /* false: it may be sent at once */

/* load_subscribe.c */
void subscribers_begin(void);
void subscriber_read(int number);           /* everything there is, of a publisher too: it gets pings and closes */
bool subscriber_has_all(int number);
void subscribers_end(void);                 /* adds up, and looks what became of the stalled */

/* load_report.c */
void report_connected(void);
int report(void);                           /* the exit code: 1 when messages or connections went wrong */

#endif
