#include "threads.h"

#include <errno.h>
#include <signal.h>

static void name_this_thread(const char *name) {
#ifdef __APPLE__
    pthread_setname_np(name);
#elif defined(__linux__)
    pthread_setname_np(pthread_self(), name);
#else
    (void)name;
#endif
}

static void *live(void *started) {
    struct thread *thread = started;
    name_this_thread(thread->name);
    thread->run(thread->of);
    return NULL;
}

int thread_start(struct thread *thread) {
    /* A new thread inherits its maker's mask: so no signal can reach it before it has one of its own. */
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (int i = 0; i < 4; i++) sigdelset(&blocked, own_faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int result = pthread_create(&thread->id, NULL, live, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -result;
}

void thread_join(struct thread *thread) { pthread_join(thread->id, NULL); }

/* -- Forks ---------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t guarding = PTHREAD_MUTEX_INITIALIZER; /* over the list */
static struct fork_guard *guards;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int handlers_result;

static void before_fork(void) { pthread_mutex_lock(&guarding); }

static void in_parent(void) { pthread_mutex_unlock(&guarding); }

static void in_child(void) {
    for (struct fork_guard *guard = guards; guard; guard = guard->next) guard->in_child(guard->of);
    guards = NULL;
    pthread_mutex_unlock(&guarding);
}

static void set_handlers(void) { handlers_result = -pthread_atfork(before_fork, in_parent, in_child); }

int fork_guard_add(struct fork_guard *guard) {
    pthread_once(&once, set_handlers);
    if (handlers_result < 0) return handlers_result;
    pthread_mutex_lock(&guarding);
    guard->next = guards;
    guards = guard;
    pthread_mutex_unlock(&guarding);
    return 0;
}

void fork_guard_remove(struct fork_guard *guard) {
    pthread_mutex_lock(&guarding);
    for (struct fork_guard **place = &guards; *place; place = &(*place)->next) {
        if (*place == guard) {
            *place = guard->next;
            break;
        }
    }
    pthread_mutex_unlock(&guarding);
}
