/* For the coverage build only: waits for a mutex without the GIL.
 *
 * There a traced nogil function takes the GIL for a moment at every line, also while it holds a topic's lock. A thread
 * that waits for that lock and keeps the GIL, as the engine's short locks may, would wait for ever. CMakeLists.txt puts
 * this in front of pthread_mutex_lock by the linker's --wrap.
 */
#include <Python.h>
#include <pthread.h>

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    if (!PyGILState_Check()) return __real_pthread_mutex_lock(mutex);
    int result = pthread_mutex_trylock(mutex);
    if (result == 0) return 0;
    Py_BEGIN_ALLOW_THREADS
    result = __real_pthread_mutex_lock(mutex);
    Py_END_ALLOW_THREADS
    return result;
}
