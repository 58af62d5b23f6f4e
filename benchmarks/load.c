/* load: publishes to a WebSocket publish/subscribe server and checks what every subscriber gets. See load.h. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "load --port PORT [--host 127.0.0.1] [--topic /bench] [--subscribers 1000] [--publishers 1] [--stalled 0]\n"
    "     [--messages 100000] [--size 128] [--rate 0] [--idle 0] [--window 64] [--timeout 10]\n"
    "     [--receive-buffer 0] [--json]\n"
    "\n"
    "  --messages N        of each publisher\n"
    "  --rate R            messages a second of all publishers, each with the time it was due; 0: unthrottled\n"
    "  --stalled K         so many of the subscribers never read\n"
    "  --idle S            seconds between the last upgrade and the first message\n"
    "  --window N          upgrades under way at a time\n"
    "  --timeout S         seconds without progress after which it ends (more than 1/R)\n"
    "  --receive-buffer B  SO_RCVBUF of subscribers; 0: the kernel grows it\n"
    "  --json              a line when connected, one at the end\n";

struct options options = {.host = "127.0.0.1", .topic = "/bench", .subscribers = 1000, .publishers = 1,
                          .messages = 100000, .size = 128, .window = 64, .timeout = 10};
struct totals totals;
struct connection *connections;
int epoll_fd;

static const struct option flags[] = {
    {"host", required_argument, NULL, 'h'},        {"port", required_argument, NULL, 'p'},
    {"topic", required_argument, NULL, 't'},       {"subscribers", required_argument, NULL, 's'},
    {"publishers", required_argument, NULL, 'P'},  {"stalled", required_argument, NULL, 'k'},
    {"messages", required_argument, NULL, 'm'},    {"size", required_argument, NULL, 'b'},
    {"rate", required_argument, NULL, 'r'},        {"idle", required_argument, NULL, 'i'},
    {"window", required_argument, NULL, 'w'},      {"timeout", required_argument, NULL, 'T'},
    {"receive-buffer", required_argument, NULL, 'R'}, {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'H'},              {0}};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t user_ns(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)used.ru_utime.tv_sec * 1000000000u + used.ru_utime.tv_usec * 1000u;
}

void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* xorshift: a mask must not be the same every time, and it must not cost anything. */
uint32_t random_word(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 16;
}

void send_control(int number, uint8_t opcode, const uint8_t *payload, size_t size)
{
    uint8_t frame[CONTROL_BYTES] = {0x80 | opcode, 0x80 | size};
    uint32_t key = random_word();
    memcpy(frame + 2, &key, 4);
    for (size_t i = 0; i < size; i++)
        frame[6 + i] = payload[i] ^ frame[2 + (i & 3)];
    if (!publisher_keeps(number, frame, 6 + size))
        send(connections[number].fd, frame, 6 + size, MSG_NOSIGNAL);
}

bool is_stalled(int number)
{
    return number < options.subscribers && number >= options.subscribers - options.stalled;
}

void drop(int number)
{
    if (is_stalled(number)) {
        totals.stalled_gone++;
    } else if (!subscriber_has_all(number)) {
        totals.departed++;
        totals.finished += number < options.subscribers;
    }
    connections[number].state = GONE;
    close(connections[number].fd);
}

static void turn(int64_t wait_ns)
{
    struct epoll_event events[512];
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    int ready = epoll_pwait2(epoll_fd, events, 512, &wait, NULL);
    for (int i = 0; i < ready; i++) {
        int number = events[i].data.u32;
        if (number >= options.subscribers && (events[i].events & EPOLLOUT))
            publisher_writable(number);
        if (connections[number].state == OPEN && (events[i].events & ~EPOLLOUT))
            subscriber_read(number);
    }
}

static void rest(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t now = now_ns(); now < end; now = now_ns())
        turn(end - now);
}

static void run(void)
{
    const int64_t patience = (int64_t)(options.timeout * 1e9);
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), user = user_ns();
    totals.start_ns = totals.last_ns = now_ns();
    for (;;) {
        uint64_t now = now_ns();
        int64_t wait = publishers_turn(now);
        if (!totals.publishing && totals.finished == options.subscribers - options.stalled)
            break;
        if ((int64_t)(now - totals.last_ns) > patience)
            break;
        turn(wait < 0 || wait > patience ? patience : wait);
    }
    totals.wall_ns = now_ns() - totals.start_ns;
    totals.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    totals.user_ns = user_ns() - user;
}

static void say_goodbye(void)
{
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    for (int i = 0; i < options.subscribers + options.publishers; i++)
        if (connections[i].state == OPEN)
            send_control(i, 8, normal, sizeof normal);
}

static void set_option(int flag, const char *value)
{
    switch (flag) {
    case 'h': options.host = value; break;
    case 't': options.topic = value; break;
    case 'p': options.port = atoi(value); break;
    case 's': options.subscribers = atoi(value); break;
    case 'P': options.publishers = atoi(value); break;
    case 'k': options.stalled = atoi(value); break;
    case 'w': options.window = atoi(value); break;
    case 'R': options.receive_buffer = atoi(value); break;
    case 'm': options.messages = strtoull(value, NULL, 10); break;
    case 'b': options.size = strtoull(value, NULL, 10); break;
    case 'r': options.rate = atof(value); break;
    case 'i': options.idle = atof(value); break;
    case 'T': options.timeout = atof(value); break;
    case 'j': options.json = true; break;
    default: fputs(usage, flag == 'H' ? stdout : stderr); exit(flag == 'H' ? 0 : 2);
    }
}

static void allow_descriptors(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
        set_option(flag, optarg);
    if (optind < argc || options.port <= 0 || options.subscribers < 0 || options.publishers < 0 || options.window < 1
        || options.stalled < 0 || options.stalled > options.subscribers) {
        fputs(usage, stderr);
        return 2;
    }
    allow_descriptors();
    prctl(PR_SET_TIMERSLACK, 1);            /* a paced message leaves when it is due, not 50 us later */
    epoll_fd = epoll_create1(0);
    connections = calloc(options.subscribers + options.publishers, sizeof *connections);
    if (epoll_fd < 0 || !connections)
        die("start");
    subscribers_begin();
    publishers_begin();
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    connect_all();
    totals.connect_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    report_connected();
    rest(options.idle);
    if (options.publishers && options.messages)
        run();
    subscribers_end();
    int code = report();
    fflush(stdout);
    say_goodbye();
    return code;
}
