/* Upgrades: what upgrade_scan() takes is put together again from what it found, and must be the head to the last byte;
 * with a byte less, in the input or in the limit, the head must not be taken. */
#include "upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define CHECK(holds) \
    do { \
        if (!(holds)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
            abort(); \
        } \
    } while (0)

/* In a block with not a byte to spare, so that AddressSanitizer sees one that is read beyond. */
static bool scan_copy(const uint8_t *data, size_t bytes, size_t limit, struct upgrade *found) {
    uint8_t *copy = malloc(bytes ? bytes : 1);
    CHECK(copy);
    if (bytes) memcpy(copy, data, bytes);
    memset(found, 0xA5, sizeof *found);
    bool taken = upgrade_scan(copy, bytes, limit, found);
    free(copy);
    return taken;
}

struct writer {
    uint8_t *at, *end;
};

static void put(struct writer *writer, const void *text, size_t bytes) {
    CHECK(bytes <= (size_t)(writer->end - writer->at));
    memcpy(writer->at, text, bytes);
    writer->at += bytes;
}

static void put_slice(struct writer *writer, struct upgrade_slice slice, const uint8_t *data, size_t head_bytes) {
    CHECK(slice.bytes > 0 && slice.bytes <= head_bytes);
    CHECK(slice.at >= data && slice.at + slice.bytes <= data + head_bytes);
    for (size_t i = 0; i < slice.bytes; i++) CHECK(slice.at[i] >= ' ' && slice.at[i] <= '~');
    put(writer, slice.at, slice.bytes);
}

static void check_whole(const struct upgrade *found, const uint8_t *data) {
    uint8_t *whole = malloc(found->head_bytes);
    CHECK(whole);
    struct writer writer = {whole, whole + found->head_bytes};
    CHECK(found->headers <= UPGRADE_HEADERS_MAX);
    put(&writer, "GET ", 4);
    put_slice(&writer, found->target, data, found->head_bytes);
    put(&writer, " HTTP/1.1\r\n", 11);
    for (size_t i = 0; i < found->headers; i++) {
        put_slice(&writer, found->header[i].name, data, found->head_bytes);
        put(&writer, ": ", 2);
        put_slice(&writer, found->header[i].value, data, found->head_bytes);
        put(&writer, "\r\n", 2);
    }
    put(&writer, "\r\n", 2);
    CHECK(writer.at == writer.end && memcmp(whole, data, found->head_bytes) == 0);
    free(whole);
}

static size_t times(const struct upgrade *found, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < found->headers; i++) {
        struct upgrade_slice slice = found->header[i].name;
        count += slice.bytes == strlen(name) && strncasecmp((const char *)slice.at, name, slice.bytes) == 0;
    }
    return count;
}

static void check_headers(const struct upgrade *found) {
    static const char *const once[] = {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"};
    static const char *const at_most_once[] = {"sec-websocket-protocol", "sec-websocket-extensions", "pubsub",
                                               "pubsub-client-name", "origin"};
    static const char *const never[] = {"content-length", "transfer-encoding", "expect"};
    for (size_t i = 0; i < sizeof once / sizeof *once; i++) CHECK(times(found, once[i]) == 1);
    for (size_t i = 0; i < sizeof at_most_once / sizeof *at_most_once; i++) CHECK(times(found, at_most_once[i]) <= 1);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) CHECK(times(found, never[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct upgrade found, again;
    bool taken = scan_copy(data, bytes, SIZE_MAX, &found);
    scan_copy(data, bytes, bytes / 2, &again);
    if (!taken) return 0;
    CHECK(upgrade_scan(data, bytes, SIZE_MAX, &found));
    CHECK(found.head_bytes <= bytes);
    check_whole(&found, data);
    check_headers(&found);
    CHECK(scan_copy(data, found.head_bytes, found.head_bytes, &again) && again.head_bytes == found.head_bytes);
    CHECK(!scan_copy(data, found.head_bytes - 1, SIZE_MAX, &again));
    CHECK(!scan_copy(data, bytes, found.head_bytes - 1, &again));
    return 0;
}
