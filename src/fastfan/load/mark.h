/* What a message carries in its first bytes: who published it and its number (8 bytes), then when it was due (8), counted
 * from the start of publishing: 56 bits of the machine's own clock would be over after 834 days.
 *
 * A payload has only those that fit whole. Each byte holds seven bits, so that the same bytes are valid text (RFC 3629):
 * 56 bits of a word are spread over eight bytes, in the machine's byte order. The rest of a payload is filler.
 */
#ifndef FASTFAN_LOAD_MARK_H
#define FASTFAN_LOAD_MARK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MARK_BYTES = 8, STAMP_BYTES = 16 };      /* payloads from these sizes on are numbered; are stamped */

static inline uint64_t mark_spread(uint64_t v) {
    v = ((v & 0x00fffffff0000000) << 4) | (v & 0x000000000fffffff);
    v = ((v & 0x0fffc0000fffc000) << 2) | (v & 0x00003fff00003fff);
    return ((v & 0x3f803f803f803f80) << 1) | (v & 0x007f007f007f007f);
}

static inline uint64_t mark_gather(uint64_t v) {
    v = ((v & 0x7f007f007f007f00) >> 1) | (v & 0x007f007f007f007f);
    v = ((v & 0x3fff00003fff0000) >> 2) | (v & 0x00003fff00003fff);
    return ((v & 0x0fffffff00000000) >> 4) | (v & 0x000000000fffffff);
}

/* A message's name: 24 bits of publisher, 32 of number. */
static inline uint64_t message_name(uint32_t publisher, uint32_t number) {
    return (uint64_t)publisher << 32 | number;
}

/* The size of a payload follows from its name, so that the other end can check it. The multiplier is SplitMix64's. */
static inline size_t message_size(uint64_t name, size_t least, size_t most) {
    if (least == most)
        return least;
    uint64_t mixed = (name + 1) * 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    return least + (size_t)(((mixed >> 32) * (uint64_t)(most - least + 1)) >> 32);
}

static inline uint64_t word_at(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

#endif
