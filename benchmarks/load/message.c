#include "message.h"

#include <stdlib.h>
#include <string.h>

int
plan_init(struct plan *plan, enum opcode opcode, size_t size)
{
    plan->opcode = opcode;
    plan->size = size;
    plan->stamp_size = size < STAMP_SIZE ? size : STAMP_SIZE;
    plan->body = malloc(size + 1);
    if (plan->body == NULL)
        return -1;
    for (size_t i = 0; i < size; i++) {
        /* Text must be UTF-8; binary messages should not look like text. A
         * period of 251 (prime) makes shifts by powers of two visible. */
        size_t step = i % 251;
        plan->body[i] = opcode == OPCODE_TEXT ? 'a' + step % 26 : 255 - step;
    }
    return 0;
}

void
plan_free(struct plan *plan)
{
    free(plan->body);
    plan->body = NULL;
}

void
plan_stamp(const struct plan *plan, uint32_t sender, uint64_t sequence,
           uint8_t out[STAMP_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t number = (uint64_t)sender << 40 | (sequence & 0xFFFFFFFFFFu);

    for (size_t i = plan->stamp_size; i-- > 0;) {
        out[i] = digits[number & 15];
        number >>= 4;
    }
}

static size_t
frame_header(enum opcode opcode, size_t size, uint32_t key, uint8_t *out)
{
    size_t used = 2;

    out[0] = 0x80 | opcode;
    if (size < 126) {
        out[1] = 0x80 | size;
    }
    else if (size < 65536) {
        out[1] = 0x80 | 126;
        out[2] = size >> 8;
        out[3] = size;
        used = 4;
    }
    else {
        out[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++)
            out[2 + i] = (uint64_t)size >> (56 - 8 * i);
        used = 10;
    }
    memcpy(out + used, &key, 4);
    return used + 4;
}

static void
mask(uint8_t *out, const uint8_t *in, size_t size, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key;
    uint8_t narrow[4];
    size_t i = 0;

    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= wide;
        memcpy(out + i, &word, 8);
    }
    memcpy(narrow, &key, 4);
    for (; i < size; i++)
        out[i] = in[i] ^ narrow[i & 3];
}

size_t
frame_message(const struct plan *plan, uint32_t sender, uint64_t sequence,
              uint32_t key, uint8_t *out)
{
    uint8_t stamp[STAMP_SIZE];
    size_t header = frame_header(plan->opcode, plan->size, key, out);

    plan_stamp(plan, sender, sequence, stamp);
    mask(out + header, stamp, plan->stamp_size, key);
    /* Either the stamp is whole, so the key starts anew, or nothing follows. */
    mask(out + header + plan->stamp_size, plan->body + plan->stamp_size,
         plan->size - plan->stamp_size, key);
    return header + plan->size;
}

size_t
frame_control(enum opcode opcode, const uint8_t *payload, size_t size,
              uint32_t key, uint8_t *out)
{
    size_t header = frame_header(opcode, size, key, out);

    mask(out + header, payload, size, key);
    return header + size;
}
