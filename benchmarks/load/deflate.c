#include "deflate.h"

#include <stdlib.h>
#include <zlib.h>

#define RAW -15 /* DEFLATE without zlib's wrapping, window of 32 KiB */

void
deflate_stored_head(size_t size, uint8_t out[STORED_HEAD])
{
    out[0] = 0; /* not the last block; stored */
    out[1] = size;
    out[2] = size >> 8;
    out[3] = ~out[1];
    out[4] = ~out[2];
}

uint8_t *
deflate_pack(const uint8_t *data, size_t size, size_t *packed)
{
    z_stream stream = {0};
    uint8_t *out;
    size_t room;

    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW, 8,
                     Z_DEFAULT_STRATEGY)
        != Z_OK)
        return NULL;
    room = deflateBound(&stream, size) + 16;
    out = malloc(room);
    if (out != NULL) {
        stream.next_in = (uint8_t *)data;
        stream.avail_in = size;
        stream.next_out = out;
        stream.avail_out = room;
        deflate(&stream, Z_SYNC_FLUSH);
        *packed = room - stream.avail_out - 4;
    }
    deflateEnd(&stream);
    return out;
}

struct z_stream_s *
inflate_new(void)
{
    z_stream *stream = calloc(1, sizeof(*stream));

    if (stream != NULL && inflateInit2(stream, RAW) != Z_OK) {
        free(stream);
        stream = NULL;
    }
    return stream;
}

void
inflate_free(struct z_stream_s *stream)
{
    if (stream != NULL)
        inflateEnd(stream);
    free(stream);
}

long
inflate_some(struct z_stream_s *stream, const uint8_t **data, const uint8_t *end,
             uint8_t *out, size_t room)
{
    int result;

    stream->next_in = (uint8_t *)*data;
    stream->avail_in = end - *data;
    stream->next_out = out;
    stream->avail_out = room;
    result = inflate(stream, Z_SYNC_FLUSH);
    *data = stream->next_in;
    /* Z_BUF_ERROR: there was nothing to do. */
    if (result != Z_OK && result != Z_BUF_ERROR)
        return -1;
    return room - stream->avail_out;
}
