#include "reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "deflate.h"

void
reader_init(struct reader *reader, uint32_t sender)
{
    memset(reader, 0, sizeof(*reader));
    reader->sender = sender;
}

void
reader_free(struct reader *reader)
{
    inflate_free(reader->inflate);
    reader->inflate = NULL;
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
    if ((reader->head[0] & 0x70) != (plan->packed != NULL && opcode < 8 ? 0x40 : 0))
        return fault(reader, reader->head[0] & 0x70 ? "an RSV bit is set"
                                                    : "the answer is not compressed");
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
    reader->unpacked = 0;
    reader->in_payload = 1;

    if (opcode == OPCODE_PING || opcode == OPCODE_CLOSE) {
        if (reader->length > 125)
            return fault(reader, "the control frame is too long");
        return EVENT_MORE;
    }
    if (opcode != (int)plan->opcode)
        return fault(reader, "opcode %d instead of %d", opcode, plan->opcode);
    if (plan->packed == NULL && reader->length != plan->size)
        return fault(reader, "length %" PRIu64 " instead of %zu", reader->length,
                     plan->size);
    if (reader->sequence >= sent)
        return fault(reader, "an answer to a message that was not sent");
    plan_stamp(plan, reader->sender, reader->sequence, reader->stamp);
    return EVENT_MORE;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Compare a piece of the expected message, which begins at `at`. */
static int
same(const struct reader *reader, const struct plan *plan, size_t at,
     const uint8_t *data, size_t size)
{
    const uint8_t *body = plan_body(plan, reader->sequence);
    size_t stamp_end = plan->stamp_at + plan->stamp_size;

    while (size > 0) {
        const uint8_t *expected = body + at;
        size_t step = size;

        if (at < plan->stamp_at) {
            step = least(size, plan->stamp_at - at);
        }
        else if (at < stamp_end) {
            step = least(size, stamp_end - at);
            expected = reader->stamp + (at - plan->stamp_at);
        }
        if (memcmp(data, expected, step) != 0)
            return 0;
        at += step;
        data += step;
        size -= step;
    }
    return 1;
}

/* Unpack and compare a piece of a compressed message. */
static int
same_unpacked(struct reader *reader, const struct plan *plan, const uint8_t *data,
              size_t size)
{
    const uint8_t *end = data + size;
    uint8_t piece[4096];
    long count;

    if (reader->inflate == NULL)
        reader->inflate = inflate_new();
    if (reader->inflate == NULL)
        return 0;
    do {
        count = inflate_some(reader->inflate, &data, end, piece, sizeof(piece));
        if (count < 0 || (uint64_t)count > plan->size - reader->unpacked
            || !same(reader, plan, reader->unpacked, piece, count))
            return 0;
        reader->unpacked += count;
    } while (count > 0 || data < end);
    return 1;
}

/* Compare what came of the frame, and its end, if that came. */
static int
right(struct reader *reader, const struct plan *plan, const uint8_t *data, size_t size)
{
    /* What the sender dropped (RFC 7692, 7.2.2). */
    static const uint8_t tail[] = {0, 0, 0xFF, 0xFF};

    if (plan->packed == NULL)
        return same(reader, plan, reader->seen, data, size);
    if (!same_unpacked(reader, plan, data, size))
        return 0;
    if (reader->seen + size < reader->length)
        return 1;
    return same_unpacked(reader, plan, tail, sizeof(tail))
           && reader->unpacked == plan->size;
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
    else if (!right(reader, plan, *data, size))
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
