#include "reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
reader_init(struct reader *reader, uint32_t sender)
{
    memset(reader, 0, sizeof(*reader));
    reader->sender = sender;
}

__attribute__((format(printf, 2, 3))) static enum event
fault(struct reader *reader, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reader->fault, sizeof(reader->fault), format, args);
    va_end(args);
    return EVENT_FAULT;
}

static uint64_t
big_endian(const uint8_t *data, int size)
{
    uint64_t value = 0;

    for (int i = 0; i < size; i++)
        value = value << 8 | data[i];
    return value;
}

/* Bytes of the header, as far as its first two say (RFC 6455, 5.2). */
static size_t
head_need(const struct reader *reader)
{
    if (reader->head_size < 2 || (reader->head[1] & 0x7F) < 126)
        return 2;
    return (reader->head[1] & 0x7F) == 126 ? 4 : 10;
}

static enum event
check_head(struct reader *reader, const struct plan *plan, uint64_t sent)
{
    int opcode = reader->head[0] & 0x0F;
    int size = reader->head[1] & 0x7F;

    if (reader->head[1] & 0x80)
        return fault(reader, "the frame is masked");
    if (reader->head[0] & 0x70)
        return fault(reader, "an RSV bit is set");
    if (!(reader->head[0] & 0x80))
        return fault(reader, "the message is fragmented");

    reader->length = size;
    if (size == 126) {
        reader->length = big_endian(reader->head + 2, 2);
        if (reader->length < 126)
            return fault(reader, "the length is not minimal");
    }
    else if (size == 127) {
        reader->length = big_endian(reader->head + 2, 8);
        if (reader->length < 65536)
            return fault(reader, "the length is not minimal");
    }
    reader->seen = 0;
    reader->in_payload = 1;

    if (opcode == OPCODE_PING || opcode == OPCODE_CLOSE) {
        if (reader->length > 125)
            return fault(reader, "the control frame is too long");
        return EVENT_MORE;
    }
    if (opcode != (int)plan->opcode)
        return fault(reader, "opcode %d instead of %d", opcode, plan->opcode);
    if (reader->length != plan->size)
        return fault(reader, "length %" PRIu64 " instead of %zu", reader->length,
                     plan->size);
    if (reader->sequence >= sent)
        return fault(reader, "an answer to a message that was not sent");
    plan_stamp(plan, reader->sender, reader->sequence, reader->stamp);
    return EVENT_MORE;
}

/* Compare a piece of the expected message. */
static int
same(const struct reader *reader, const struct plan *plan, const uint8_t *data,
     size_t size)
{
    size_t at = reader->seen;
    size_t stamped = 0;

    if (at < plan->stamp_size) {
        stamped = plan->stamp_size - at < size ? plan->stamp_size - at : size;
        if (memcmp(data, reader->stamp + at, stamped) != 0)
            return 0;
    }
    return memcmp(data + stamped, plan->body + at + stamped, size - stamped) == 0;
}

enum event
reader_next(struct reader *reader, const struct plan *plan, uint64_t sent,
            const uint8_t **data, const uint8_t *end)
{
    size_t size;
    int opcode;

    while (!reader->in_payload) {
        if (reader->head_size == head_need(reader) && reader->head_size >= 2) {
            if (check_head(reader, plan, sent) == EVENT_FAULT)
                return EVENT_FAULT;
            break;
        }
        if (*data == end)
            return EVENT_MORE;
        reader->head[reader->head_size++] = *(*data)++;
    }

    opcode = reader->head[0] & 0x0F;
    size = end - *data;
    if (size > reader->length - reader->seen)
        size = reader->length - reader->seen;
    if (opcode & 8)
        memcpy(reader->control + reader->seen, *data, size);
    else if (!same(reader, plan, *data, size))
        return fault(reader, "the content of message %" PRIu64 " differs",
                     reader->sequence);
    reader->seen += size;
    *data += size;
    if (reader->seen < reader->length)
        return EVENT_MORE;

    reader->in_payload = 0;
    reader->head_size = 0;
    if (opcode == OPCODE_PING)
        return EVENT_PING;
    if (opcode == OPCODE_CLOSE)
        return EVENT_CLOSE;
    reader->sequence++;
    return EVENT_MESSAGE;
}
