/* Threads of our own, and what is to be done in a child that was forked beside them.
 *
 * Contract: a thread blocks all signals but those that a fault of its own raises, so that the program's handlers run in
 * the program's threads. After a fork the child has the forking thread alone, and locks stand as they stood: a guard's
 * function is called there, and must take none. Structs are the caller's, and stay where they are while in use.
 * Threads: any; add and remove may run at once. Results are 0 or -errno.
 */
#ifndef FASTFAN_THREADS_H
#define FASTFAN_THREADS_H

#include <pthread.h>

struct thread {
    void (*run)(void *of);
    void *of;
    const char *name; /* at most 15 characters, as the system shows it */
    pthread_t id;
};

int thread_start(struct thread *thread);
/* Waits for its end. */
void thread_join(struct thread *thread);

struct fork_guard {
    void (*in_child)(void *of);
    void *of;
    struct fork_guard *next;
};

int fork_guard_add(struct fork_guard *guard);
void fork_guard_remove(struct fork_guard *guard);

#endif
