#include "upgrade.h"

#include <string.h>

enum { KEY_BYTES = 24, HOST_MAX = 255, PORT_DIGITS_MAX = 5 };

static const char *const names[] = {
    [UPGRADE_HOST] = "host",
    [UPGRADE_UPGRADE] = "upgrade",
    [UPGRADE_CONNECTION] = "connection",
    [UPGRADE_KEY] = "sec-websocket-key",
    [UPGRADE_VERSION] = "sec-websocket-version",
    [UPGRADE_PROTOCOL] = "sec-websocket-protocol",
    [UPGRADE_EXTENSIONS] = "sec-websocket-extensions",
    [UPGRADE_ROLE] = "pubsub",
    [UPGRADE_CLIENT_NAME] = "pubsub-client-name",
    [UPGRADE_ORIGIN] = "origin",
};

/* They announce a body, or a wish to be asked for one. */
static const char *const body_names[] = {"content-length", "transfer-encoding", "expect"};

static const unsigned needed = 1u << UPGRADE_HOST | 1u << UPGRADE_UPGRADE | 1u << UPGRADE_CONNECTION
                             | 1u << UPGRADE_KEY | 1u << UPGRADE_VERSION;

/* --- characters --- */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static bool is_alphanumeric(uint8_t c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z'); }

/* RFC 9110 section 5.6.2. */
static bool is_token(uint8_t c) { return is_alphanumeric(c) || (c && strchr("-_!#$%&'*+.^`|~", c)); }

static bool is_visible(uint8_t c) { return c > ' ' && c < 0x7f; }

static bool is_printable(uint8_t c) { return c >= ' ' && c < 0x7f; }

static bool is_base64(uint8_t c) { return is_alphanumeric(c) || c == '+' || c == '/'; }

static bool is_name_of_host(uint8_t c) { return is_alphanumeric(c) || c == '.' || c == '-' || c == '_'; }

static bool is_in_brackets(uint8_t c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.'; }

/* --- reading --- */

static struct upgrade_slice span(const uint8_t **at, const uint8_t *end, bool (*holds)(uint8_t)) {
    struct upgrade_slice found = {*at, 0};
    while (*at < end && holds(**at)) ++*at;
    found.bytes = (size_t)(*at - found.at);
    return found;
}

static bool skip(const uint8_t **at, const uint8_t *end, const char *text) {
    size_t bytes = strlen(text);
    if ((size_t)(end - *at) < bytes || memcmp(*at, text, bytes) != 0) return false;
    *at += bytes;
    return true;
}

static bool is(struct upgrade_slice slice, const char *text) {
    return slice.bytes == strlen(text) && memcmp(slice.at, text, slice.bytes) == 0;
}

/* `text` is in lower case. */
static bool is_in_any_case(struct upgrade_slice slice, const char *text) {
    if (slice.bytes != strlen(text)) return false;
    for (size_t i = 0; i < slice.bytes; i++)
        if (lower(slice.at[i]) != (uint8_t)text[i]) return false;
    return true;
}

/* --- values --- */

/* Two hyphens side by side may begin an IDNA label, whose meaning is not read here. */
static bool has_two_hyphens(struct upgrade_slice slice) {
    for (size_t i = 1; i < slice.bytes; i++)
        if (slice.at[i - 1] == '-' && slice.at[i] == '-') return true;
    return false;
}

/* RFC 3986 section 3.2.2 and 3.2.3: a name or an address, and perhaps a port. */
static bool is_host(struct upgrade_slice value) {
    const uint8_t *at = value.at, *end = value.at + value.bytes;
    bool bracketed = skip(&at, end, "[");
    struct upgrade_slice host = span(&at, end, bracketed ? is_in_brackets : is_name_of_host);
    if (host.bytes == 0 || host.bytes > HOST_MAX || has_two_hyphens(host)) return false;
    if (bracketed && !skip(&at, end, "]")) return false;
    if (at == end) return true;
    if (!skip(&at, end, ":")) return false;
    struct upgrade_slice port = span(&at, end, is_digit);
    return at == end && port.bytes > 0 && port.bytes <= PORT_DIGITS_MAX;
}

/* Base64 of 16 bytes, in the one way to write them: the last character before the padding has four bits that are 0. */
static bool is_key(struct upgrade_slice value) {
    const uint8_t *at = value.at, *end = value.at + value.bytes;
    if (value.bytes != KEY_BYTES || span(&at, end, is_base64).bytes != KEY_BYTES - 2) return false;
    return skip(&at, end, "==") && strchr("AQgw", value.at[KEY_BYTES - 3]);
}

static bool is_sound(enum upgrade_name which, struct upgrade_slice value) {
    switch (which) {
    case UPGRADE_HOST: return is_host(value);
    case UPGRADE_UPGRADE: return is_in_any_case(value, "websocket");
    case UPGRADE_CONNECTION: return is_in_any_case(value, "upgrade") || is_in_any_case(value, "keep-alive, upgrade");
    case UPGRADE_KEY: return is_key(value);
    case UPGRADE_VERSION: return is(value, "13");
    default: return which < UPGRADE_BODY;
    }
}

/* --- a head --- */

static enum upgrade_name which_is(struct upgrade_slice name) {
    for (int which = 0; which < UPGRADE_OTHER; which++)
        if (is_in_any_case(name, names[which])) return (enum upgrade_name)which;
    for (size_t i = 0; i < sizeof body_names / sizeof *body_names; i++)
        if (is_in_any_case(name, body_names[i])) return UPGRADE_BODY;
    return UPGRADE_OTHER;
}

static bool read_header(const uint8_t **at, const uint8_t *end, struct upgrade_header *header) {
    header->name = span(at, end, is_token);
    if (header->name.bytes == 0 || !skip(at, end, ": ")) return false;
    header->value = span(at, end, is_printable);
    struct upgrade_slice value = header->value;
    if (value.bytes == 0 || value.at[0] == ' ' || value.at[value.bytes - 1] == ' ') return false;
    header->which = which_is(header->name);
    return is_sound(header->which, value) && skip(at, end, "\r\n");
}

static bool read_headers(const uint8_t **at, const uint8_t *end, struct upgrade *found) {
    unsigned seen = 0;
    found->headers = 0;
    while (!skip(at, end, "\r\n")) {
        if (found->headers == UPGRADE_HEADERS_MAX) return false;
        struct upgrade_header *header = &found->header[found->headers++];
        if (!read_header(at, end, header)) return false;
        unsigned bit = header->which == UPGRADE_OTHER ? 0 : 1u << header->which;
        if (seen & bit) return false;
        seen |= bit;
    }
    return (seen & needed) == needed;
}

bool upgrade_scan(const uint8_t *data, size_t have, size_t max_head_bytes, struct upgrade *found) {
    const uint8_t *at = data, *end = data + (have < max_head_bytes ? have : max_head_bytes);
    if (!skip(&at, end, "GET ")) return false;
    found->target = span(&at, end, is_visible);
    if (found->target.bytes == 0 || found->target.at[0] != '/') return false;
    if (!skip(&at, end, " HTTP/1.1\r\n") || !read_headers(&at, end, found)) return false;
    found->head_bytes = (size_t)(at - data);
    return true;
}
