/* What the load generator sends, and what it expects back.
 *
 * Every message differs from every other: it holds a stamp, sixteen hexadecimal
 * digits that name the sender (6) and the message (10). The rest comes from a few
 * bodies that take turns, so that neither side of the comparison is stored.
 * An echo that is lost, doubled, swapped, or meant for somebody else is noticed.
 */

#ifndef LOAD_MESSAGE_H
#define LOAD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#define STAMP_SIZE 16

enum opcode {
    OPCODE_CONTINUATION = 0x0,
    OPCODE_TEXT = 0x1,
    OPCODE_BINARY = 0x2,
    OPCODE_CLOSE = 0x8,
    OPCODE_PING = 0x9,
    OPCODE_PONG = 0xA,
};

enum content {
    CONTENT_PLAIN, /* letters, or bytes that are no text */
    CONTENT_JSON,  /* one object, as Python's json.dumps() writes it; any size is
                      ignored */
    CONTENT_WORDS, /* text that DEFLATE halves, and more: for --deflate */
};

struct packed {
    uint8_t *data;
    size_t size;
};

struct plan {
    enum opcode opcode; /* of every message, in both directions */
    size_t size;        /* payload, in bytes */
    size_t stamp_at;    /* where the stamp is; a multiple of 4, as masking keys are */
    size_t stamp_size;  /* STAMP_SIZE, or less when the payload is shorter */
    size_t bodies;      /* message n has body n % bodies */
    uint8_t *body;      /* `bodies` x `size` bytes; those of stamps are unused */
    /* What follows the stamp, compressed: one for each body. NULL: not compressed. */
    struct packed *packed;
};

int plan_init(struct plan *plan, enum opcode opcode, enum content content, size_t size);
/* Have all messages compressed; their content is CONTENT_WORDS. */
int plan_compress(struct plan *plan);
void plan_free(struct plan *plan);

/* The body of a message. */
const uint8_t *plan_body(const struct plan *plan, uint64_t sequence);

/* Most bytes of a message's payload on the wire. */
size_t plan_room(const struct plan *plan);

/* Write the stamp's last plan->stamp_size digits. */
void plan_stamp(const struct plan *plan, uint32_t sender, uint64_t sequence,
                uint8_t out[STAMP_SIZE]);

/* Longest header of a masked frame (RFC 6455, 5.2). */
#define HEADER_MAX 14

/* Write a whole masked frame; return its length. `out` has room for it. */
size_t frame_message(const struct plan *plan, uint32_t sender, uint64_t sequence,
                     uint32_t key, uint8_t *out);
size_t frame_control(enum opcode opcode, const uint8_t *payload, size_t size,
                     uint32_t key, uint8_t *out);

#endif
