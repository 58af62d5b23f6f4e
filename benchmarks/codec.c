/* How fast are unmasking, in each way this processor has, and the UTF-8 check, beside memcpy()?
 *
 *     cc -std=gnu11 -O3 -fPIC -Isrc/fastfan benchmarks/codec.c src/fastfan/un*.c src/fastfan/utf8*.c -o build/codec
 *     build/codec
 *
 * What would make it lie: ways timed one after the other while the machine's load changes (so they take turns, and the
 * median of many turns counts); a call that the compiler sees through (so it goes over a volatile pointer); and a
 * cache that is warmer than a server's: what recv() has just written is in it too, what a log holds for long is not.
 */
#include "unmask.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURNS = 61, SUBJECTS_MAX = 8, LARGEST = 1 << 20, KEY = 0x12345678 };

typedef void subject(uint8_t *out, const uint8_t *in, size_t bytes);

static struct unmask_way way;

static void copies(uint8_t *out, const uint8_t *in, size_t bytes) { memcpy(out, in, bytes); }
static void unmasks(uint8_t *out, const uint8_t *in, size_t bytes) { unmask(out, in, bytes, KEY); }
static void unmasks_way(uint8_t *out, const uint8_t *in, size_t bytes) { way.unmask(out, in, bytes, KEY); }

/* As it was before unmask.c: eight bytes at a time, and the rest one by one. */
static void unmasks_words(uint8_t *out, const uint8_t *in, size_t bytes) {
    const uint8_t key[4] = {0x78, 0x56, 0x34, 0x12};
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= 0x1234567812345678;
        memcpy(out + i, &word, 8);
    }
    for (; i < bytes; i++) out[i] = in[i] ^ key[i & 3];
}

static void checks(uint8_t *out, const uint8_t *in, size_t bytes) {
    uint8_t state = UTF8_START;
    *out = (uint8_t)utf8_check(&state, in, bytes);
}

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static double turn_ns(subject *volatile run, uint8_t *out, const uint8_t *in, size_t bytes) {
    long times = 10000000 / (long)(bytes + 500) + 1;
    double start = now_ns();
    for (long i = 0; i < times; i++) run(out, in, bytes);
    return (now_ns() - start) / (double)times;
}

struct column {
    const char *name;
    subject *run;
    struct unmask_way way;
};

static void print_row(const char *name, const struct column *columns, int count, const uint8_t *in, size_t bytes) {
    static double turns[SUBJECTS_MAX][TURNS];
    static uint8_t out[LARGEST + 64];
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < count; i++) {
            way = columns[i].way;
            turns[i][turn] = turn_ns(columns[i].run, out + 10, in, bytes);      /* behind a header of 10 bytes */
        }
    printf("%10s %8zu", name, bytes);
    for (int i = 0; i < count; i++) {
        qsort(turns[i], TURNS, sizeof turns[i][0], by_size);
        printf("%11.1f", turns[i][TURNS / 2]);
    }
    puts("");
}

static void print_heads(const char *what, const struct column *columns, int count) {
    printf("\n%s, ns a call (median of %d turns)\n%19s", what, TURNS, "bytes");
    for (int i = 0; i < count; i++) printf("%11s", columns[i].name);
    puts("");
}

int main(void) {
    static const char *const texts[][2] = {
        {"ASCII", "{\"name\": \"value\"}, "}, {"mixed", "{\"text\": \"mostly ASCII, with \xC3\xA9 in it\"}, "},
        {"Cyrillic", "\xD0\xA1\xD1\x8A\xD0\xB5\xD1\x88\xD1\x8C "}, {"CJK", "\xE6\x95\x8F\xE6\x8D\xB7\xE7\x9A\x84"}};
    static const size_t sizes[] = {16, 128, 1024, 65536, LARGEST};
    static uint8_t in[LARGEST + 64];
    struct unmask_way masks[UNMASK_WAYS_MAX];
    struct column columns[SUBJECTS_MAX] = {
        {"memcpy", copies, {0}}, {"words", unmasks_words, {0}}, {"unmask()", unmasks, {0}}};
    int count = 3, masks_count = (int)unmask_ways(masks);
    for (int i = 0; i < masks_count; i++) columns[count++] = (struct column){masks[i].name, unmasks_way, masks[i]};
    print_heads("unmasking", columns, count);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) print_row("", columns, count, in + 14, sizes[i]);

    columns[1] = (struct column){"check()", checks, {0}};
    count = 2;
    print_heads("UTF-8", columns, count);
    for (size_t text = 0; text < sizeof texts / sizeof *texts; text++) {
        size_t length = strlen(texts[text][1]);
        for (size_t i = 0; i + length <= sizeof in; i += length) memcpy(in + i, texts[text][1], length);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            print_row(texts[text][0], columns, count, in, sizes[i]);
    }
}
