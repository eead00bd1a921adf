#include "deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* DEFLATE without zlib's wrapping. Clients use the largest window. */
#define IN_WINDOW -15
/* Messages are short, so a small window and a small table are enough; they stay in the
 * processor's cache. */
#define OUT_WINDOW -12
#define OUT_MEMORY 5

#define STEP 4096

static __thread struct {
    int ready;
    z_stream in, out;
    struct bytes plain, packed;
} own;

void
deflate_free(void)
{
    if (!own.ready)
        return;
    inflateEnd(&own.in);
    deflateEnd(&own.out);
    bytes_free(&own.plain);
    bytes_free(&own.packed);
    own.ready = 0;
}

static void
prepare(void)
{
    int failed;

    if (own.ready) {
        failed = inflateReset(&own.in) != Z_OK || deflateReset(&own.out) != Z_OK;
    }
    else {
        failed = inflateInit2(&own.in, IN_WINDOW) != Z_OK
                 || deflateInit2(&own.out, Z_BEST_SPEED, Z_DEFLATED, OUT_WINDOW,
                                 OUT_MEMORY, Z_DEFAULT_STRATEGY)
                        != Z_OK;
        own.ready = 1;
    }
    if (failed)
        abort();
    own.plain.used = own.packed.used = 0;
}

/* Run a stream until all that is due has come out. */
static void
run(z_stream *stream, int (*step)(z_stream *, int), const uint8_t *data, size_t size,
    struct bytes *out)
{
    stream->next_in = (uint8_t *)data;
    stream->avail_in = size;
    do {
        stream->next_out = bytes_reserve(out, STEP);
        stream->avail_out = STEP;
        int result = step(stream, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR)
            abort();
        out->used += STEP - stream->avail_out;
    } while (stream->avail_out == 0 || stream->avail_in > 0);
}

const struct bytes *
deflate_echo(const uint8_t *data, size_t size)
{
    /* What the sender dropped (7.2.2). */
    static const uint8_t tail[4] = {0, 0, 0xFF, 0xFF};

    prepare();
    run(&own.in, inflate, data, size, &own.plain);
    run(&own.in, inflate, tail, sizeof(tail), &own.plain);
    run(&own.out, deflate, own.plain.data, own.plain.used, &own.packed);
    own.packed.used -= sizeof(tail);
    return &own.packed;
}
