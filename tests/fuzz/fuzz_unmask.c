/* Unmasking, in every way this processor has: copied, in place and in pieces, byte for byte as section 5.3 says it. */
#include "fuzz.h"

#include "unmask.h"

enum { GUARD = 0xA5, AROUND = 64 };

typedef void way(uint8_t *out, const uint8_t *in, size_t bytes, uint32_t key);

static void slowly(uint8_t *out, const uint8_t *in, size_t bytes, const uint8_t key[4], uint64_t place) {
    for (size_t i = 0; i < bytes; i++) out[i] = in[i] ^ key[(place + i) % 4];
}

/* `place` bytes of the payload came before. */
static void check_copy(way *way, struct input in, const uint8_t key[4], uint64_t place, size_t shift) {
    uint8_t *from = exact_copy(in.data, in.bytes), *expected = exact_copy(in.data, in.bytes);
    uint8_t *out = malloc(in.bytes + 2 * AROUND);
    uint32_t word;
    CHECK(out);
    memcpy(&word, key, 4);
    memset(out, GUARD, in.bytes + 2 * AROUND);
    slowly(expected, in.data, in.bytes, key, place);
    way(out + shift, from, in.bytes, unmask_key_at(word, place));
    CHECK(memcmp(out + shift, expected, in.bytes) == 0);
    CHECK(memcmp(from, in.data, in.bytes) == 0);
    for (size_t i = 0; i < shift; i++) CHECK(out[i] == GUARD);
    for (size_t i = shift + in.bytes; i < in.bytes + 2 * AROUND; i++) CHECK(out[i] == GUARD);
    way(from, from, in.bytes, unmask_key_at(word, place));
    CHECK(memcmp(from, expected, in.bytes) == 0);
    free(out);
    free(expected);
    free(from);
}

/* In place, as a large message is received: cut by the input's own bytes. */
static void check_pieces(way *way, struct input in, const uint8_t key[4]) {
    uint8_t *whole = exact_copy(in.data, in.bytes), *expected = exact_copy(in.data, in.bytes);
    uint32_t word;
    memcpy(&word, key, 4);
    slowly(expected, in.data, in.bytes, key, 0);
    for (size_t done = 0, piece; done < in.bytes; done += piece) {
        piece = 1 + in.data[done] % 200;
        if (piece > in.bytes - done) piece = in.bytes - done;
        way(whole + done, whole + done, piece, unmask_key_at(word, done));
    }
    CHECK(memcmp(whole, expected, in.bytes) == 0);
    free(expected);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct input in = {data, bytes};
    struct unmask_way ways[UNMASK_WAYS_MAX];
    uint8_t key[4];
    for (int i = 0; i < 4; i++) key[i] = (uint8_t)take(&in, 1);
    uint64_t place = take(&in, 2);
    size_t shift = take(&in, 1) % AROUND;
    size_t count = unmask_ways(ways);
    CHECK(count >= 1 && count <= UNMASK_WAYS_MAX);
    check_copy(unmask, in, key, place, shift);
    check_pieces(unmask, in, key);
    for (size_t i = 0; i < count; i++) {
        check_copy(ways[i].unmask, in, key, place, shift);
        check_pieces(ways[i].unmask, in, key);
    }
    return 0;
}
