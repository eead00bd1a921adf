#include "sha1.h"

#include <assert.h>
#include <string.h>

static uint32_t
rotate(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

static void
add_block(uint32_t state[5], const uint8_t block[64])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3],
                    e = state[4];

    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16
               | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t mix, constant, next;
        if (i < 20) {
            mix = (b & c) | (~b & d);
            constant = 0x5A827999;
        }
        else if (i < 40) {
            mix = b ^ c ^ d;
            constant = 0x6ED9EBA1;
        }
        else if (i < 60) {
            mix = (b & c) | (b & d) | (c & d);
            constant = 0x8F1BBCDC;
        }
        else {
            mix = b ^ c ^ d;
            constant = 0xCA62C1D6;
        }
        next = rotate(a, 5) + mix + e + w[i] + constant;
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void
sha1(const char *text, size_t size, uint8_t digest[20])
{
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t blocks[128] = {0};
    size_t count = size < 56 ? 1 : 2;

    assert(size <= 119);
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    for (int i = 0; i < 8; i++)
        blocks[64 * count - 1 - i] = (uint64_t)size * 8 >> (8 * i);
    for (size_t i = 0; i < count; i++)
        add_block(state, blocks + 64 * i);
    for (int i = 0; i < 20; i++)
        digest[i] = state[i / 4] >> (24 - 8 * (i % 4));
}
