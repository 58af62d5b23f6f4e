#include "pages.h"

#include <string.h>
#include <sys/mman.h>

void *pages_map(size_t bytes) {
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

void *pages_grow(void *block, size_t bytes_old, size_t bytes_new) {
    /* ThreadSanitizer does not see mremap: the place left would look as if it were still in use. */
#if defined(MREMAP_MAYMOVE) && !defined(__SANITIZE_THREAD__)
    void *moved = mremap(block, bytes_old, bytes_new, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
#else
    void *moved = pages_map(bytes_new);
    if (moved == NULL) return NULL;
    memcpy(moved, block, bytes_old < bytes_new ? bytes_old : bytes_new);
    pages_unmap(block, bytes_old);
    return moved;
#endif
}

void pages_unmap(void *block, size_t bytes) { munmap(block, bytes); }
