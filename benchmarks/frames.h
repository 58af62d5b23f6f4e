/* frames: WebSocket frames as the bare programs read and write them (RFC 6455 section 5.2). */
#ifndef FRAMES_H
#define FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FRAME_HEAD = 10 };       /* bytes of the longest head of a frame that a server sends */

static inline void unmask(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *key)
{
    uint32_t once;
    memcpy(&once, key, 4);
    uint64_t word, mask = (uint64_t)once << 32 | once;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= mask;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++)
        to[i] = from[i] ^ key[i & 3];
}

/* Writes the head of a server's frame and returns its length, FRAME_HEAD at most. */
static inline size_t make_head(uint8_t *out, uint8_t first, size_t size)
{
    size_t head = size < 126 ? 2 : size < 65536 ? 4 : FRAME_HEAD;
    out[0] = first;
    out[1] = head == 2 ? size : head == 4 ? 126 : 127;
    for (size_t i = 2; i < head; i++)
        out[i] = (uint64_t)size >> (8 * (head - 1 - i));
    return head;
}

/* Writes a server's frame and returns its length, FRAME_HEAD + `size` at most. */
static inline size_t make_frame(uint8_t *out, uint8_t first, const uint8_t *payload, size_t size, const uint8_t *key)
{
    size_t head = make_head(out, first, size);
    unmask(out + head, payload, size, key);
    return head + size;
}

/* The length of the first frame in `in`, its payload's place and size; 0 when its head is not complete. */
static inline size_t frame_length(const uint8_t *in, size_t have, size_t *payload, size_t *size)
{
    if (have < 2)
        return 0;
    size_t coded = in[1] & 127, extended = coded == 126 ? 2 : coded == 127 ? 8 : 0;
    *payload = 2 + extended + 4;
    if (have < *payload)
        return 0;
    *size = extended ? 0 : coded;
    for (size_t i = 0; i < extended; i++)
        *size = *size << 8 | in[2 + i];
    return *payload + *size;
}

#endif
