/* bare_append: appends messages to bare_log's ring, and prints the nanoseconds of one: the floor of topic.publish().
 *
 *     bare_append BYTES MESSAGES ROUNDS        MESSAGES of so many bytes in a round, after which the ring begins again
 *
 * It flatters itself: no lock, no limit, no marks by which a slow subscriber finds its place, and no Python. The clock
 * is read once before and once after a round, and the median round is printed.
 */
#define _GNU_SOURCE
#include "frames.h"
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BINARY = 0x82, MOST_ROUNDS = 10000 };

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Not inlined, and over volatile pointers: else the compiler would see that nobody reads the ring. */
static __attribute__((noinline)) void append(const uint8_t *volatile payload, size_t size)
{
    uint8_t *volatile out = at(log_end);
    size_t head = make_head(out, BINARY, size);
    memcpy(out + head, payload, size);
    log_end += head + size;
}

static double round_ns(const uint8_t *payload, size_t size, long messages)
{
    double start = now_ns();
    for (long i = 0; i < messages; i++)
        append(payload, size);
    log_origin = log_end;
    return (now_ns() - start) / messages;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double took[MOST_ROUNDS];
    size_t size = argc == 4 ? atol(argv[1]) : 0;
    long messages = argc == 4 ? atol(argv[2]) : 0, rounds = argc == 4 ? atol(argv[3]) : 0;
    if (messages < 1 || rounds < 1 || rounds > MOST_ROUNDS || messages * (size + FRAME_HEAD) > RING_BYTES) {
        fprintf(stderr, "usage: bare_append BYTES MESSAGES ROUNDS; a round is to fit into %d bytes\n", RING_BYTES);
        return 2;
    }
    uint8_t *payload = calloc(1, size + 1);
    if (!payload || !map_ring()) {
        perror("bare_append");
        return 1;
    }
    round_ns(payload, size, messages);                  /* the ring's first pages */
    for (long i = 0; i < rounds; i++)
        took[i] = round_ns(payload, size, messages);
    qsort(took, rounds, sizeof *took, by_size);
    printf("%.2f\n", took[rounds / 2]);
}
