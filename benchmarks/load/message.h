/* What the load generator sends, and what it expects back.
 *
 * Every message differs from every other: it starts with a stamp, sixteen
 * hexadecimal digits that name the sender (6) and the message (10). The rest is
 * the same for all of them, so that neither side of the comparison is stored.
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

struct plan {
    enum opcode opcode; /* of every message, in both directions */
    size_t size;        /* payload, in bytes */
    size_t stamp_size;  /* STAMP_SIZE, or less when the payload is shorter */
    uint8_t *body;      /* `size` bytes; those of the stamp are unused */
};

int plan_init(struct plan *plan, enum opcode opcode, size_t size);
void plan_free(struct plan *plan);

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
