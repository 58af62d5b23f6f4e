/* Does a server spend less CPU when it hands all the sends of a message to the kernel at once, through io_uring?
 *
 *     cc -std=gnu11 -O2 benchmarks/uring.c -o build/bench/uring
 *     build/bench/uring MODE SUBSCRIBERS RATE SECONDS      prints CPU ns of a delivery
 *     python -m benchmarks.uring                           all modes in turn, and what they are to a loop of send()
 *
 *   sender, on the first CPU                                        reader, on the last
 *   a frame of 128 bytes ──► send() for each, or one ring ──► SUBSCRIBERS sockets ──► counts the bytes
 *
 * It needs Linux's headers from 6.1 on and no library. A kernel that refuses io_uring (it has none, or a container's
 * rules forbid it, as Docker's do unless told otherwise), or that is too old for a mode, is said to on a line that
 * begins with "refused:", and is no failure.
 *
 * What would make it lie: work that the kernel puts off to its thread for soft interrupts, which no process is charged
 * for and which a ring leaves more of (so that thread's time is counted; it serves everybody on that CPU, and a
 * container may hide it); other processes on the sender's CPU, on whose bill an interrupt does such work unseen; sends
 * that fail and are cheap (so every byte has to arrive); a ring with fewer places than subscribers; loopback, where the
 * sender pays for the receiver's TCP too and a system call is the smaller part of it; and modes compared over minutes
 * (so the runner shuffles them, and has send() twice).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_BYTES = 4 + 128,
    SUBSCRIBERS_MAX = 19000,    /* with the rest within the 20,000 descriptors that bare.h takes */
    RING_MIN = 1024,
    EVENTS_MAX = 1024,
    KERNEL_PIDS = 4096,         /* the kernel's threads are the first processes of a machine */
    SETTLE_NS = 100000000,      /* for what the connections leave to do */
    PATIENCE_SECONDS = 20,
};

static const struct mode {
    const char *name;
    unsigned setup;
    bool ring, files, skip;     /* through a ring; its files registered; no word of a send that went well */
} modes[] = {
    {.name = "send"},
    {.name = "plain", .ring = true},
    {.name = "coop", .ring = true, .setup = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER},
    {.name = "defer", .ring = true, .setup = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER},
    {.name = "defer+files+skip", .ring = true, .setup = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
     .files = true, .skip = true},
};

static const struct mode *mode;
static char frame[FRAME_BYTES] = {(char)0x82, 126, 0, (char)128};
static int fds[SUBSCRIBERS_MAX], count, rate;

static struct {
    int fd;
    unsigned *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} ring;

static _Noreturn void die(const char *what) {
    perror(what);
    exit(1);
}

/* ---- Clocks and CPUs ---- */

static uint64_t now_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t ns) {
    struct timespec time = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* The first CPU that the process may run on, or the last; they are one where there is no other. */
static int own_cpu(bool last) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) die("sched_getaffinity");
    int cpu = last ? CPU_SETSIZE - 1 : 0;
    while (!CPU_ISSET((size_t)cpu, &set)) cpu += last ? -1 : 1;
    return cpu;
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) die("sched_setaffinity");
}

static bool read_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "r");
    bool read = file && fgets(line, size, file);
    if (file) fclose(file);
    return read;
}

/* The process id of the kernel's thread for soft interrupts on `cpu`; 0 where it is not to be seen. */
static int find_softirqd(int cpu) {
    char path[64], line[64], name[64];
    snprintf(name, sizeof name, "ksoftirqd/%d\n", cpu);
    for (int pid = 2; pid < KERNEL_PIDS; pid++) {
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        if (read_line(path, line, sizeof line) && strcmp(line, name) == 0) return pid;
    }
    fputs("the kernel's thread for soft interrupts is not to be seen here: its CPU is missing\n", stderr);
    return 0;
}

static uint64_t softirqd_ns(int pid) {
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    return pid && read_line(path, line, sizeof line) ? strtoull(line, NULL, 10) : 0;
}

/* ---- The reader: a process of its own ---- */

static void connect_all(int poller, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    }
}

/* Writes to `out` what CPU it took, when all of `expected` bytes are there; it is killed in the end. */
static _Noreturn void read_all(int port, uint64_t expected, int out) {
    static struct epoll_event events[EVENTS_MAX];
    static char bytes[65536];
    int poller = epoll_create1(0);
    connect_all(poller, port);
    uint64_t cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t have = 0; have < expected;) {
        int ready = epoll_wait(poller, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            ssize_t got = read(events[i].data.fd, bytes, sizeof bytes);
            if (got <= 0) exit(1);
            have += (uint64_t)got;
        }
    }
    cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    if (write(out, &cpu_ns, sizeof cpu_ns) != sizeof cpu_ns) die("write");
    for (;;) pause();
}

/* ---- The ring ---- */

static void map_ring(const struct io_uring_params *p) {
    size_t sq_bytes = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t cq_bytes = p->cq_off.cqes + p->cq_entries * sizeof *ring.cqes;
    size_t bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;       /* one mapping has both since Linux 5.4 */
    size_t sqes_bytes = p->sq_entries * sizeof *ring.sqes;
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    char *both = mmap(NULL, bytes, protection, flags, ring.fd, IORING_OFF_SQ_RING);
    ring.sqes = mmap(NULL, sqes_bytes, protection, flags, ring.fd, (off_t)IORING_OFF_SQES);
    if (both == MAP_FAILED || ring.sqes == MAP_FAILED) die("mmap");
    ring.sq_tail = (unsigned *)(both + p->sq_off.tail);
    ring.sq_mask = (unsigned *)(both + p->sq_off.ring_mask);
    ring.cq_head = (unsigned *)(both + p->cq_off.head);
    ring.cq_tail = (unsigned *)(both + p->cq_off.tail);
    ring.cq_mask = (unsigned *)(both + p->cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(both + p->cq_off.cqes);
    unsigned *order = (unsigned *)(both + p->sq_off.array);
    for (unsigned i = 0; i < p->sq_entries; i++) order[i] = i;
}

/* False when the kernel refuses: it says why, then. */
static bool open_ring(void) {
    struct io_uring_params params = {.flags = mode->setup};
    unsigned places = RING_MIN;
    while (places < (unsigned)count) places *= 2;
    ring.fd = (int)syscall(SYS_io_uring_setup, places, &params);
    if (ring.fd >= 0) {
        map_ring(&params);
        return true;
    }
    if (errno == ENOSYS) puts("refused: this kernel has no io_uring, or a container's rules hide it (ENOSYS)");
    else if (errno == EPERM) puts("refused: this kernel or a container's rules forbid io_uring (EPERM)");
    else if (errno == EINVAL) printf("refused: this kernel is too old for %s (EINVAL)\n", mode->name);
    else die("io_uring_setup");
    return false;
}

static void register_files(void) {
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, count) < 0) die("io_uring_register");
}

static void fill(struct io_uring_sqe *sqe, int subscriber) {
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_SEND;
    sqe->msg_flags = MSG_NOSIGNAL;
    sqe->fd = mode->files ? subscriber : fds[subscriber];
    sqe->addr = (uint64_t)(uintptr_t)frame;
    sqe->len = FRAME_BYTES;
    sqe->flags = (uint8_t)((mode->files ? IOSQE_FIXED_FILE : 0) | (mode->skip ? IOSQE_CQE_SKIP_SUCCESS : 0));
}

/* How many completions there were; those that failed count in `failed`. */
static int reap(long *failed) {
    unsigned head = *ring.cq_head, tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
    int done = (int)(tail - head);
    for (; head != tail; head++) *failed += ring.cqes[head & *ring.cq_mask].res != FRAME_BYTES;
    __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
    return done;
}

static long send_by_ring(void) {
    unsigned tail = *ring.sq_tail;
    for (int i = 0; i < count; i++) fill(&ring.sqes[tail++ & *ring.sq_mask], i);
    __atomic_store_n(ring.sq_tail, tail, __ATOMIC_RELEASE);
    long failed = 0;
    int unsent = count, awaited = mode->skip ? 0 : count;
    while (unsent > 0 || awaited > 0) {
        unsigned flags = mode->skip ? 0 : IORING_ENTER_GETEVENTS;
        int taken = (int)syscall(SYS_io_uring_enter, ring.fd, unsent, awaited, flags, NULL, 0);
        if (taken < 0 && errno != EINTR) die("io_uring_enter");
        if (taken > 0) unsent -= taken;
        int done = reap(&failed);
        if (!mode->skip) awaited -= done;
    }
    return failed;
}

/* ---- The sender ---- */

static long send_by_loop(void) {
    long failed = 0;
    for (int i = 0; i < count; i++) failed += send(fds[i], frame, FRAME_BYTES, MSG_NOSIGNAL) != FRAME_BYTES;
    return failed;
}

static int open_door(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    int door = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(door, (struct sockaddr *)&address, size) < 0 || listen(door, 4096) < 0) die("listen");
    if (getsockname(door, (struct sockaddr *)&address, &size) < 0) die("getsockname");
    setsockopt(door, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    *port = ntohs(address.sin_port);
    return door;
}

static void accept_all(int door) {
    struct linger reset = {.l_onoff = 1};       /* or thousands of ports would be kept for a minute */
    int one = 1;
    for (int i = 0; i < count; i++) {
        fds[i] = accept4(door, NULL, NULL, SOCK_NONBLOCK);
        if (fds[i] < 0) die("accept");
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
}

/* What CPU the reader took, when it has everything. */
static uint64_t wait_reader(int in, long failed) {
    uint64_t reader_ns;
    struct pollfd reader = {.fd = in, .events = POLLIN};
    if (!failed && poll(&reader, 1, PATIENCE_SECONDS * 1000) == 1)
        if (read(in, &reader_ns, sizeof reader_ns) == sizeof reader_ns) return reader_ns;
    fprintf(stderr, "%s: %ld sends failed, or not everything arrived\n", mode->name, failed);
    exit(1);
}

static void measure(int cpu, uint64_t messages, int in) {
    int softirqd = find_softirqd(cpu);
    uint64_t start = now_ns(CLOCK_MONOTONIC) + SETTLE_NS;
    long failed = 0;
    sleep_until(start);
    uint64_t soft_ns = softirqd_ns(softirqd), cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t message = 0; message < messages; message++) {
        sleep_until(start + message * 1000000000 / (uint64_t)rate);
        memcpy(frame + 4, &message, sizeof message);
        failed += mode->ring ? send_by_ring() : send_by_loop();
    }
    uint64_t reader_ns = wait_reader(in, failed);
    cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    soft_ns = softirqd_ns(softirqd) - soft_ns;
    double each = (double)messages * count;
    printf("cpu_ns %.1f softirq_ns %.1f reader_ns %.1f\n",
           (double)cpu_ns / each, (double)soft_ns / each, (double)reader_ns / each);
}

static void take_arguments(int argc, char **argv, uint64_t *messages) {
    for (size_t i = 0; argc == 5 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0) mode = &modes[i];
    double seconds = mode ? atof(argv[4]) : 0;
    if (mode) {
        count = atoi(argv[2]);
        rate = atoi(argv[3]);
    }
    *messages = rate > 0 && seconds > 0 ? (uint64_t)(rate * seconds + 0.5) : 0;
    if (*messages && count > 0 && count <= SUBSCRIBERS_MAX) return;
    fprintf(stderr, "usage: uring MODE SUBSCRIBERS RATE SECONDS, SUBSCRIBERS up to %d; modes:", SUBSCRIBERS_MAX);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) fprintf(stderr, " %s", modes[i].name);
    fputs("\n", stderr);
    exit(2);
}

/* In a process of its own, which ends with this one; the end of the pipe that it writes to. */
static int start_reader(int port, uint64_t expected, pid_t *reader) {
    int ends[2];
    if (pipe(ends) < 0 || (*reader = fork()) < 0) die("fork");
    if (*reader == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(own_cpu(true));
        read_all(port, expected, ends[1]);
    }
    close(ends[1]);
    return ends[0];
}

int main(int argc, char **argv) {
    uint64_t messages;
    struct rlimit files;
    int port;
    pid_t reader;
    take_arguments(argc, argv, &messages);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    if (mode->ring && !open_ring()) return 0;
    int door = open_door(&port), in = start_reader(port, messages * (uint64_t)count * FRAME_BYTES, &reader);
    int cpu = own_cpu(false);
    pin(cpu);
    accept_all(door);
    if (mode->files) register_files();
    measure(cpu, messages, in);
    kill(reader, SIGKILL);
}
