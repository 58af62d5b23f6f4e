/* Whether bytes that come in pieces are UTF-8 (RFC 3629), as text messages must be (RFC 6455 section 8.1).
 *
 *     uint8_t state = UTF8_START;                  one for each message, kept from fragment to fragment
 *     for each piece, cut wherever it is:
 *         if (utf8_check(&state, piece, bytes) == UTF8_WRONG)    close with 1007, at once
 *     when the message is complete:
 *         UTF8_WHOLE: it is text      UTF8_CUT: it ends inside a character: close with 1007
 *
 * Contract: no surrogates, no overlong forms, nothing over U+10FFFF; U+0000, noncharacters and a byte order mark are
 * text. UTF8_WRONG comes with the first byte that nothing could follow to make it right, and stays. Pieces are of
 * unmasked bytes, of any size, without alignment; nothing beyond them is read. Any thread; a state belongs to its caller,
 * who sets it and never looks inside.
 */
#ifndef FASTFAN_UTF8_H
#define FASTFAN_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* 0, so that memory that was cleared is ready. */
enum { UTF8_START = 0 };

enum utf8 {
    UTF8_WHOLE,         /* all well so far, and the last character is complete */
    UTF8_CUT,           /* all well so far, and a character goes on */
    UTF8_WRONG          /* no text, whatever comes */
};

/* What everything says that was given with this state. */
enum utf8 utf8_check(uint8_t *state, const uint8_t *data, size_t bytes);

/* For tests and measurements: the ways this processor has of passing over text quickly, the one that utf8_check() takes
 * first. Each returns how many bytes from the first on are whole characters, and right; it may give up too early, at a
 * byte that is wrong or for want of a whole vector, but is never too far. Returns how many were written to `ways`. */
enum { UTF8_WAYS_MAX = 2 };

struct utf8_way {
    const char *name;           /* of the instructions: "avx2", "plain" */
    size_t (*skip)(const uint8_t *data, size_t bytes);
};

size_t utf8_ways(struct utf8_way ways[UTF8_WAYS_MAX]);

#endif
