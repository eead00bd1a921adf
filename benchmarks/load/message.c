#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deflate.h"

/* Exactly as json.dumps(json.loads(...)) gives it back. */
static const char json[] =
    "{\"id\": \"0123456789abcdef\", \"user\": \"somebody\", \"room\": 42, "
    "\"text\": \"Good morning, how are you?\", \"seen\": [1, 2.5, true, null]}";
#define JSON_STAMP_AT 8

/* More than DEFLATE's window of 32 KiB, from 1 KiB on: a compressor can't just point
 * to the message before. */
#define WORDS_BODIES 64

static void
fill_words(uint8_t *body, size_t size)
{
    static const char *const words[] = {
        "the ",  "of ",     "message ", "client ", "and ",    "thread ", "waits ",
        "for ",  "a ",      "socket ",  "server ", "which ",  "sends ",  "answer ",
        "back ", "quickly", ", ",       "while ",  "others ", "don't.\n",
    };
    uint32_t x = 2463534242u;
    size_t used = 0;

    while (used < size) {
        char number[16];
        const char *word = number;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        if (x >> 30 == 0)
            snprintf(number, sizeof(number), "%u ", x % 100000);
        else
            word = words[x % (sizeof(words) / sizeof(words[0]))];
        while (*word != '\0' && used < size)
            body[used++] = *word++;
    }
}

static void
fill_plain(uint8_t *body, size_t size, enum opcode opcode)
{
    for (size_t i = 0; i < size; i++) {
        /* Text must be UTF-8; binary messages should not look like text. A
         * period of 251 (prime) makes shifts by powers of two visible. */
        size_t step = i % 251;
        body[i] = opcode == OPCODE_TEXT ? 'a' + step % 26 : 255 - step;
    }
}

int
plan_init(struct plan *plan, enum opcode opcode, enum content content, size_t size)
{
    memset(plan, 0, sizeof(*plan));
    if (content == CONTENT_JSON) {
        size = sizeof(json) - 1;
        plan->stamp_at = JSON_STAMP_AT;
    }
    plan->opcode = opcode;
    plan->size = size;
    plan->stamp_size = size < STAMP_SIZE ? size : STAMP_SIZE;
    plan->bodies = content == CONTENT_WORDS ? WORDS_BODIES : 1;
    plan->body = malloc(plan->bodies * size + 1);
    if (plan->body == NULL)
        return -1;
    if (content == CONTENT_JSON)
        memcpy(plan->body, json, size);
    else if (content == CONTENT_WORDS)
        fill_words(plan->body, plan->bodies * size);
    else
        fill_plain(plan->body, size, opcode);
    return 0;
}

int
plan_compress(struct plan *plan)
{
    plan->packed = calloc(plan->bodies, sizeof(*plan->packed));
    if (plan->packed == NULL)
        return -1;
    for (size_t i = 0; i < plan->bodies; i++) {
        struct packed *packed = &plan->packed[i];
        packed->data = deflate_pack(plan_body(plan, i) + plan->stamp_size,
                                    plan->size - plan->stamp_size, &packed->size);
        if (packed->data == NULL)
            return -1;
    }
    return 0;
}

void
plan_free(struct plan *plan)
{
    for (size_t i = 0; plan->packed != NULL && i < plan->bodies; i++)
        free(plan->packed[i].data);
    free(plan->packed);
    free(plan->body);
    plan->packed = NULL;
    plan->body = NULL;
}

const uint8_t *
plan_body(const struct plan *plan, uint64_t sequence)
{
    return plan->body + sequence % plan->bodies * plan->size;
}

size_t
plan_room(const struct plan *plan)
{
    size_t room = plan->size;

    for (size_t i = 0; plan->packed != NULL && i < plan->bodies; i++) {
        size_t size = STORED_HEAD + STAMP_SIZE + plan->packed[i].size;
        room = size > room ? size : room;
    }
    return room;
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

/* The stamp in a block that stores it, then the body that was compressed before: a
 * stream of blocks like any other, which costs the generator no compression. */
static size_t
frame_packed(const struct plan *plan, uint64_t sequence, const uint8_t *stamp,
             uint32_t key, uint8_t *out)
{
    const struct packed *packed = &plan->packed[sequence % plan->bodies];
    uint8_t start[STORED_HEAD + STAMP_SIZE];
    size_t used = STORED_HEAD + plan->stamp_size;
    size_t header = frame_header(plan->opcode, used + packed->size, key, out);
    uint32_t turned;

    out[0] |= 0x40; /* RSV1: compressed (RFC 7692, 6) */
    deflate_stored_head(plan->stamp_size, start);
    memcpy(start + STORED_HEAD, stamp, plan->stamp_size);
    mask(out + header, start, used, key);
    /* The key goes on where it was. */
    turned = used % 4 ? key >> 8 * (used % 4) | key << (32 - 8 * (used % 4)) : key;
    mask(out + header + used, packed->data, packed->size, turned);
    return header + used + packed->size;
}

size_t
frame_message(const struct plan *plan, uint32_t sender, uint64_t sequence,
              uint32_t key, uint8_t *out)
{
    const uint8_t *body = plan_body(plan, sequence);
    size_t after = plan->stamp_at + plan->stamp_size;
    uint8_t stamp[STAMP_SIZE];
    size_t header;

    plan_stamp(plan, sender, sequence, stamp);
    if (plan->packed != NULL)
        return frame_packed(plan, sequence, stamp, key, out);
    header = frame_header(plan->opcode, plan->size, key, out);
    mask(out + header, body, plan->stamp_at, key);
    mask(out + header + plan->stamp_at, stamp, plan->stamp_size, key);
    /* Either the stamp is whole, so the key starts anew, or nothing follows. */
    mask(out + header + after, body + after, plan->size - after, key);
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
