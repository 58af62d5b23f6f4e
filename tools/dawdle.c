/* For LD_PRELOAD: threads that dawdle around their system calls, so that what may happen in between does.
 *
 * DAWDLERS=engine (the I/O threads) or others; DAWDLE_US, the longest pause (3,000); DAWDLE_ODDS, one call in so many (6).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { UNKNOWN, DAWDLES, HURRIES };
static __thread int kind;
static __thread unsigned seed;
static unsigned longest_us = 3000, odds = 6;
static int of_the_engine = 1;

static unsigned number(const char *name, unsigned otherwise) {
    const char *given = getenv(name);
    return given != NULL && atol(given) > 0 ? (unsigned)atol(given) : otherwise;
}

__attribute__((constructor)) static void read_the_environment(void) {
    const char *who = getenv("DAWDLERS");
    of_the_engine = who == NULL || strcmp(who, "others") != 0;
    longest_us = number("DAWDLE_US", longest_us);
    odds = number("DAWDLE_ODDS", odds);
}

static void find_out(void) {
    char name[16] = "";
    struct timespec now;
    pthread_getname_np(pthread_self(), name, sizeof name);
    kind = (strstr(name, "fastfan") != NULL) == of_the_engine ? DAWDLES : HURRIES;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = (unsigned)now.tv_nsec ^ (unsigned)(uintptr_t)&seed;
}

static void dawdle(void) {
    int error = errno;
    if (kind == UNKNOWN) find_out();
    if (kind == DAWDLES && (unsigned)rand_r(&seed) % odds == 0) {
        struct timespec pause = {0, (long)((unsigned)rand_r(&seed) % longest_us) * 1000};
        nanosleep(&pause, NULL);
    }
    errno = error;
}

#define THE_REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    THE_REAL(write);
    ssize_t result = real(fd, data, size);
    dawdle();
    return result;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    THE_REAL(send);
    dawdle();
    ssize_t result = real(fd, data, size, flags);
    dawdle();
    return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    THE_REAL(sendmsg);
    dawdle();
    ssize_t result = real(fd, message, flags);
    dawdle();
    return result;
}

ssize_t recv(int fd, void *data, size_t size, int flags) {
    THE_REAL(recv);
    dawdle();
    ssize_t result = real(fd, data, size, flags);
    dawdle();
    return result;
}

int shutdown(int fd, int how) {
    THE_REAL(shutdown);
    int result = real(fd, how);
    dawdle();
    return result;
}

int close(int fd) {
    THE_REAL(close);
    int result = real(fd);
    dawdle();
    return result;
}

int epoll_ctl(int poller, int operation, int fd, struct epoll_event *event) {
    THE_REAL(epoll_ctl);
    int result = real(poller, operation, fd, event);
    dawdle();
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    THE_REAL(pthread_mutex_unlock);
    int result = real(mutex);
    dawdle();
    return result;
}
