/* What looks at every byte of a payload, for the C files of this package: masking
 * and UTF-8 (RFC 6455, 5.3 and 8.1).
 */

#ifndef WEBSOCK_PAYLOAD_H
#define WEBSOCK_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* XOR with the repeated masking key, 32 bytes at a time. The copies are one
 * instruction each for any alignment: gcc -O2 makes of the loop two loads, two
 * XORs and two stores of 16 bytes. */
static inline void
mask_bytes(unsigned char *to, const unsigned char *from, size_t size,
           const unsigned char key[4])
{
    unsigned char keys[8];
    uint64_t mask, words[4];
    size_t i = 0;

    memcpy(keys, key, 4);
    memcpy(keys + 4, key, 4);
    memcpy(&mask, keys, 8);
    for (; size - i >= 32; i += 32) {
        memcpy(words, from + i, 32);
        words[0] ^= mask;
        words[1] ^= mask;
        words[2] ^= mask;
        words[3] ^= mask;
        memcpy(to + i, words, 32);
    }
    for (; size - i >= 8; i += 8) {
        memcpy(words, from + i, 8);
        words[0] ^= mask;
        memcpy(to + i, words, 8);
    }
    for (; i < size; i++) {
        to[i] = from[i] ^ key[i & 3];
    }
}

/* How many bytes of text are whole characters, from its begin on; what follows is
 * the begin of a character, or a fault, which *valid tells. */
static inline size_t
scan_utf8(const unsigned char *text, size_t size, int *valid)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    size_t i = 0;

    *valid = 1;
    while (i < size) {
        unsigned char lead = text[i];
        unsigned char low = 0x80, top = 0xBF;
        size_t more;

        if (lead < 0x80) {
            uint64_t words[2];

            i++;
            while (size - i >= 16) {
                memcpy(words, text + i, 16);
                if ((words[0] | words[1]) & high) {
                    break;
                }
                i += 16;
            }
            continue;
        }
        /* The table of well-formed sequences: Unicode Standard, table 3-7; the
         * second byte alone has ranges of its own. */
        if (lead < 0xC2) {
            *valid = 0;
            break;
        }
        else if (lead < 0xE0) {
            more = 1;
        }
        else if (lead < 0xF0) {
            more = 2;
            if (lead == 0xE0) {
                low = 0xA0;
            }
            else if (lead == 0xED) {
                top = 0x9F;
            }
        }
        else if (lead < 0xF5) {
            more = 3;
            if (lead == 0xF0) {
                low = 0x90;
            }
            else if (lead == 0xF4) {
                top = 0x8F;
            }
        }
        else {
            *valid = 0;
            break;
        }
        for (size_t j = 1; j <= more; j++) {
            if (i + j == size) {
                return i;
            }
            if (text[i + j] < low || text[i + j] > top) {
                *valid = 0;
                return i;
            }
            low = 0x80;
            top = 0xBF;
        }
        i += more + 1;
    }
    return i;
}

#endif
