/* What the fuzz targets share. A target is one file: it gives random bytes to the codec, and compares with something
 * slow and plain of its own. libFuzzer calls it, or driver.c where there is none; run.sh builds and runs both kinds. */
#ifndef FASTFAN_FUZZ_H
#define FASTFAN_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Both kinds of driver keep the input of a process that aborts. */
#define CHECK(holds) \
    do { \
        if (!(holds)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
            abort(); \
        } \
    } while (0)

/* A copy with not a byte to spare, so that AddressSanitizer sees one that is read or written beyond. free() it. */
static inline uint8_t *exact_copy(const uint8_t *data, size_t bytes) {
    uint8_t *copy = calloc(1, bytes ? bytes : 1);
    CHECK(copy);
    if (bytes) memcpy(copy, data, bytes);
    return copy;
}

/* The next bytes of the input; 0 where it has ended. */
struct input {
    const uint8_t *data;
    size_t bytes;
};

static inline uint64_t take(struct input *input, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (input->bytes ? *input->data : 0);
        if (input->bytes) input->data++, input->bytes--;
    }
    return value;
}

#endif
