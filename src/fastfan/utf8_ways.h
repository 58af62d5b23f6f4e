/* What the files of the UTF-8 check share; nobody else includes it. See utf8.h for the whole.
 *
 * The vector ways judge many bytes at once, each by the three before it, so that a vector needs nothing from the one
 * before (after Keiser and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte", 2021):
 *
 * - What is wrong with a pair of neighbours shows in three nibbles: both of the first byte, and the high one of the
 *   second. Each nibble's table says which faults it allows for; a fault that all three allow for is there.
 * - Two continuation bytes in a row are that kind of fault too (CONTINUED), unless the second one is the third byte of
 *   a character or the fourth: then it would be a fault if they were not.
 *
 * A character that the last vector cuts is left to the automaton in utf8.c, and so is finding the wrong byte.
 */
#ifndef FASTFAN_UTF8_WAYS_H
#define FASTFAN_UTF8_WAYS_H

#include "utf8.h"

/* Each writes the ways of its processors, best first, and returns how many: none on other processors. */
size_t utf8_ways_x86(struct utf8_way *ways);
size_t utf8_ways_arm(struct utf8_way *ways);

/* For what is shorter than a vector. */
size_t utf8_skip_ascii(const uint8_t *data, size_t bytes);

enum {
    UNFINISHED = 1 << 0,        /* C0..FF, then no continuation */
    STRAY = 1 << 1,             /* ASCII, then a continuation */
    OVERLONG_2 = 1 << 2,        /* C0 or C1, then a continuation */
    OVERLONG_3 = 1 << 3,        /* E0, then 80..9F */
    SURROGATE = 1 << 4,         /* ED, then A0..BF */
    BAD_8 = 1 << 5,             /* F0 (overlong) or F5..FF (too large), then 80..8F */
    TOO_LARGE = 1 << 6,         /* F4..FF, then 90..BF */
    CONTINUED = 1 << 7          /* a continuation, then another */
};

/* By nibble; in utf8.c. */
extern const uint8_t utf8_first_high[16], utf8_first_low[16], utf8_second_high[16];

/* Taken off with saturation, these leave the top bit to leads of three bytes and more, and of four. */
enum { BELOW_LEAD_3 = 0xE0 - 0x80, BELOW_LEAD_4 = 0xF0 - 0x80 };

/* The last place up to `end` at which a character ends, where all before `end` is right as far as it goes. */
static inline size_t utf8_whole_until(const uint8_t *data, size_t end) {
    if (end >= 1 && data[end - 1] >= 0xC0) return end - 1;
    if (end >= 2 && data[end - 2] >= 0xE0) return end - 2;
    if (end >= 3 && data[end - 3] >= 0xF0) return end - 3;
    return end;
}

#endif
