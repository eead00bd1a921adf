/* Strict reader of what a server sends, without a socket.
 *
 * It compares payloads as they arrive and keeps none. Whatever differs from the
 * one legal and expected frame is a fault: the wrong opcode, length or content, a
 * mask, an RSV bit, a length that is not minimal, a fragment, an answer to a
 * message that was not sent. (A server may legally answer in fragments; none of
 * the peers does.) Where messages are compressed, every answer must be, too; what is
 * compared is what it unpacks to.
 */

#ifndef LOAD_READER_H
#define LOAD_READER_H

#include "message.h"

enum event {
    EVENT_MORE,    /* all data was read */
    EVENT_MESSAGE, /* the expected message; reader->sequence moved on */
    EVENT_PING,    /* answer reader->control */
    EVENT_CLOSE,   /* reader->control holds code and reason, if any */
    EVENT_FAULT,   /* reader->fault says what */
};

struct reader {
    /* The next expected message. */
    uint32_t sender;
    uint64_t sequence;
    /* The frame being read. */
    uint8_t head[10];
    uint8_t head_size;
    uint8_t in_payload;
    uint64_t length;
    uint64_t seen;
    uint8_t stamp[STAMP_SIZE];
    uint8_t control[125];
    char fault[120];
    /* Of compressed answers: how far this one is unpacked. */
    struct z_stream_s *inflate;
    uint64_t unpacked;
};

void reader_init(struct reader *reader, uint32_t sender);
void reader_free(struct reader *reader);

/* Read up to the next event. `*data` moves; `sent` is the number of messages that
 * may have been answered. */
enum event reader_next(struct reader *reader, const struct plan *plan, uint64_t sent,
                       const uint8_t **data, const uint8_t *end);

#endif
