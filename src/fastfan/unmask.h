/* Masking of payloads, which is its own inverse (RFC 6455 section 5.3).
 *
 * A whole payload, copied into the log or where it lies:
 *     unmask(out, payload, bytes, frame.key);
 *     unmask(payload, payload, bytes, frame.key);
 * A payload that comes in pieces, `done` bytes of which were unmasked before:
 *     unmask(out + done, piece, bytes, unmask_key_at(frame.key, done));
 *
 * Contract: a key is its four bytes as they lie in the frame (`client_frame.key`). `out` is `in`, or the two do not
 * overlap; no alignment is needed; nothing is read or written beyond `bytes`. Any thread, no lock: the way that suits
 * the processor is found at the first call, and threads that look at the same time find the same.
 */
#ifndef FASTFAN_UNMASK_H
#define FASTFAN_UNMASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

void unmask(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key);

/* The key as it stands at byte `place` of the payload: what unmask() wants for a piece that begins there. */
static inline uint32_t unmask_key_at(uint32_t key, uint64_t place) {
    uint8_t twice[8];
    memcpy(twice, &key, 4);
    memcpy(twice + 4, &key, 4);
    memcpy(&key, twice + (place & 3), 4);
    return key;
}

/* For tests and measurements: every way this processor has of doing it, the one that unmask() takes first. Each keeps
 * unmask()'s contract. Returns how many were written to `ways`. */
enum { UNMASK_WAYS_MAX = 4 };

struct unmask_way {
    const char *name;           /* of the instructions: "avx2", "plain" */
    void (*unmask)(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key);
};

size_t unmask_ways(struct unmask_way ways[UNMASK_WAYS_MAX]);

#endif
