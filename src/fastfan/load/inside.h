/* What the files of the load share. See load.h for the whole. */
#ifndef FASTFAN_LOAD_INSIDE_H
#define FASTFAN_LOAD_INSIDE_H

#include <sys/socket.h>

#include "../clock.h"
#include "../poller.h"
#include "../sync.h"
#include "load.h"
#include "mark.h"

enum {
    READ_BYTES = 256 << 10,         /* per recv: stays in the second level cache */
    HELD_BYTES = 144,               /* more than a head with the start of its payload, or a whole control frame */
    CONTROL_BYTES = 6 + 125,        /* the longest control frame of a client */
    LONGEST_HEAD = 14,              /* of a client's frame, key included */
};

#define UNKNOWN UINT32_MAX          /* no message of this publisher was seen yet */
#define NO_WAIT_LIMIT INT64_MAX

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum kind { STEADY, VISITOR, SLOW, STALLED, PUBLISHER };

/*   UNBORN ─► CONNECTING ─► UPGRADING ─► OPEN ─► GONE          a visitor: OPEN ─► LEAVING ─► CONNECTING, or GONE ─► … */
enum state { UNBORN, CONNECTING, UPGRADING, OPEN, LEAVING, GONE };

struct connection {
    int fd;
    enum state state;
    enum kind kind;
    uint32_t topic;
    uint64_t begun_ns;
};

struct subscriber {
    uint64_t received;              /* different messages */
    uint64_t skip;                  /* bytes of the present frame that are still to come */
    uint64_t due_ns;                /* of the present frame */
    uint32_t *next;                 /* by publisher of the topic: the number of the message that must come now */
    uint8_t **seen;                 /* by publisher: bitmap of what came, made when the order first breaks */
    uint32_t *seen_bits;            /* and its size */
    uint32_t held;                  /* bytes of an incomplete head, in held_bytes */
    uint32_t size;                  /* of the present frame's payload */
    bool counts;                    /* the present frame is no duplicate */
    bool broken;                    /* has a bitmap */
    bool awaited;                   /* counted in `waiting` */
    uint8_t held_bytes[HELD_BYTES];
};

struct publisher {
    uint8_t *frames;                /* made and not sent yet: from begin to end */
    size_t begin, end;
    uint32_t made, goal;
    bool blocked;                   /* the socket is full */
    bool queued;                    /* in the load's ring of those that may send */
    uint32_t complete;              /* messages that every steady subscriber of the topic has; kept with a window only */
    uint32_t *arrivals;             /* by number % window: how many of them have it */
    uint64_t *made_ns;              /* and when it was made */
    size_t control_size;            /* a control frame that waits for the end of what is half sent */
    uint8_t control[CONTROL_BYTES];
};

struct load {
    struct load_plan plan;
    struct poller poller;
    struct sockaddr_storage server;
    socklen_t server_bytes;
    int connections_count, publishers_a_topic;      /* at most */
    struct connection *connections;
    struct subscriber *subscribers;                 /* publishers have one too: they get pings and closes */
    struct publisher *publishers;
    uint32_t *steady_of_topic;
    uint64_t random;
    uint64_t now;                                   /* when the present read returned */
    uint64_t stopping;                              /* shared: load_stop() was called */
    char error[320];

    /* connecting */
    int born, under_way;
    bool refused;                                   /* a connection could not be made; `error` says why */

    /* publishing */
    bool timed;                                     /* latency is wanted, and messages have room for a stamp */
    uint64_t start_ns, last_ns, deadline_ns;
    uint8_t *payload;                               /* filler, with the present message's marks at its start */
    size_t buffer_bytes;                            /* of each publisher */
    uint32_t *ring;                                 /* publishers that may send */
    uint32_t ring_first, ring_count;
    uint64_t next_due;                              /* paced: messages of all publishers whose time has come */
    uint32_t unsent;                                /* publishers with frames made and not sent */
    uint32_t reached;                               /* publishers that have made all of theirs, or are gone */
    bool ending;                                    /* nothing more is published ... */
    uint32_t waiting;                               /* ... and so many steady subscribers have not everything */

    /* reading */
    uint64_t head_bits, head_mask;                  /* a frame as it ought to be starts with these bits ... */
    size_t head_bytes, frame_bytes;                 /* ... and is this long; 0: each must be looked at */
    uint8_t *buffer;                                /* HELD_BYTES + READ_BYTES */

    /* visitors and slow readers */
    uint64_t turns_taken, slow_tick_ns;
    uint32_t *returning;                            /* visitors that left, to come back at once */
    uint32_t returning_count;

    struct load_report report;                      /* the loop's own */
    mutex_t showing;
    struct load_report shown;                       /* under `showing`: for load_report_now() */
    uint64_t shown_ns;
};

static inline bool is_publisher(const struct load *l, int number) {
    return number >= l->plan.subscribers;
}

/* load.c */
int first_of(const struct load_plan *plan, enum kind kind);     /* connections lie in the order of their kinds */
int load_fail(struct load *l, const char *what, int error);     /* writes the error's text; returns -error */
uint32_t random_word(struct load *l);
void send_control(struct load *l, int number, enum opcode opcode, const uint8_t *payload, size_t size);
void say_goodbye(struct load *l, int number);                   /* our Close, 1000 */
void shut(struct load *l, struct connection *connection);
void drop(struct load *l, int number, unsigned close_code);     /* the server ended it, or made it impossible */
void turn(struct load *l, int64_t wait_ns);

/* connect.c */
bool begin_connection(struct load *l, int number);
void connection_ready(struct load *l, int number, uint32_t ready);      /* CONNECTING and UPGRADING */

/* publish.c */
bool publishers_begin(struct load *l);
void publishers_start(struct load *l);
int64_t publishers_turn(struct load *l, uint64_t now);      /* sends; how many ns the loop may wait */
void publisher_writable(struct load *l, int number);
void publisher_gone(struct load *l, int number);
bool publisher_keeps(struct load *l, int number, const uint8_t *control, size_t size);      /* false: send it at once */
void publisher_arrival(struct load *l, uint32_t id, uint32_t number);   /* a steady subscriber has it */
uint64_t messages_due_to(const struct load *l, int subscriber);         /* once nothing more is published */
bool publishing_is_over(struct load *l, uint64_t now);

/* subscribe.c */
bool subscribers_begin(struct load *l);
void subscriber_read(struct load *l, int number, bool to_the_end);      /* everything there is; of a publisher too */
void subscriber_read_some(struct load *l, int number, size_t limit);
void subscriber_forget(struct load *l, int number);         /* it comes back as a new one */
void subscriber_await(struct load *l, int number);          /* nothing more is published: one more that `waiting` counts */
void subscriber_settle(struct load *l, int number);         /* ... and no more, once it has everything or is gone */
bool subscriber_has_all(const struct load *l, int number);
void subscribers_end(struct load *l);                       /* adds up, and looks what became of the stalled */

/* visitors.c */
int64_t visitors_turn(struct load *l, uint64_t now);
void visitor_left(struct load *l, int number);
int64_t slow_turn(struct load *l, uint64_t now);

#endif
