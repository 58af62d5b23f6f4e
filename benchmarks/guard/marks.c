/* Preloaded into operations.py under callgrind: says what is counted, and lets time stand still.
 *
 * The program calls begin() and end() around what is counted, and note() to write down and forget the count so far.
 * Without valgrind they do nothing. Time stands still because what the engine does depends on it: slices of the
 * fan-out, ticks, how old a message is. A clock that valgrind slows down fifty times would make another count each run.
 */
#include <sys/timerfd.h>
#include <time.h>
#include <valgrind/callgrind.h>

void guard_start(void) { CALLGRIND_START_INSTRUMENTATION; }
void guard_begin(void) { CALLGRIND_TOGGLE_COLLECT; }
void guard_end(void) { CALLGRIND_TOGGLE_COLLECT; }
void guard_note(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    *now = (struct timespec){.tv_sec = 1000000};
    return 0;
}

/* No tick ever comes. */
int timerfd_settime(int fd, int flags, const struct itimerspec *timer, struct itimerspec *before) {
    (void)fd, (void)flags, (void)timer;
    if (before) *before = (struct itimerspec){0};
    return 0;
}
