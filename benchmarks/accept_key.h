/* accept_key: the answer to a Sec-WebSocket-Key, for bare servers that shall need no library. No state, no errors. */
#ifndef ACCEPT_KEY_H
#define ACCEPT_KEY_H

#include <stdint.h>
#include <string.h>

static uint32_t rotate(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

static void sha1_block(uint32_t h[5], const uint8_t *block)
{
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], v[5];
    for (int i = 0; i < 80; i++) {
        if (i < 16)
            w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
        else
            w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 80; i++) {
        uint32_t b = v[1], c = v[2], d = v[3];
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i >= 40 && i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        uint32_t next = rotate(v[0], 5) + f + v[4] + k[i / 20] + w[i];
        v[4] = d, v[3] = c, v[2] = rotate(b, 30), v[1] = v[0], v[0] = next;
    }
    for (int i = 0; i < 5; i++)
        h[i] += v[i];
}

/* RFC 6455 4.2.2: base64 of the SHA-1 of the 24 characters of the key and a constant; 60 bytes, so two blocks. */
static void accept_key(const char *key, char out[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t text[128] = {0}, digest[21] = {0};
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    text[60] = 0x80;
    text[126] = 480 >> 8;
    text[127] = 480 & 255;
    sha1_block(h, text);
    sha1_block(h, text + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
    for (int i = 0; i < 7; i++) {
        uint32_t three = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            out[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

#endif
