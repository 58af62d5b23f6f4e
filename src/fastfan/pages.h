/* Memory straight from the system, so that what a log gives back leaves the process.
 *
 * malloc keeps freed blocks of this size in its arenas: after a burst the process would stay as large as its
 * largest moment. Ownership: the caller's; a size given to unmap or grow is the size last asked for. Any thread.
 */
#ifndef FASTFAN_PAGES_H
#define FASTFAN_PAGES_H

#include <stddef.h>

/* Zeroed pages, or NULL when the system has none. */
void *pages_map(size_t bytes);
/* The same bytes in `bytes_new` (perhaps elsewhere), or NULL and the old block is untouched. */
void *pages_grow(void *block, size_t bytes_old, size_t bytes_new);
void pages_unmap(void *block, size_t bytes);

#endif
