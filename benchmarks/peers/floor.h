/* What both C servers share: command line, opening handshake, frames.
 *
 * They are the limit that a server can reach on this machine, not servers to use:
 * they take for granted that clients obey RFC 6455 (masked, whole messages, valid
 * UTF-8), and close the connection on anything else that they notice.
 */

#ifndef FLOOR_H
#define FLOOR_H

#include <stddef.h>
#include <stdint.h>

/* Bytes read at once into memory that idle clients don't have. */
#define FLOOR_READ 65536

enum floor_work {
    FLOOR_ECHO,
    FLOOR_BROADCAST,
    FLOOR_WAIT, /* echo after 5 ms */
};

struct bytes {
    uint8_t *data;
    size_t used;
    size_t size;
};

/* Append; the process ends when there is no memory. `data` may be NULL: room. */
uint8_t *bytes_reserve(struct bytes *bytes, size_t size);
void bytes_append(struct bytes *bytes, const void *data, size_t size);
/* Drop the first `size` bytes; free what is empty. */
void bytes_consume(struct bytes *bytes, size_t size);
void bytes_free(struct bytes *bytes);

/* One client's reading half. */
struct floor_reader {
    int open;           /* the opening handshake is over */
    int done;           /* close when what is due was written */
    struct bytes carry; /* an incomplete request or frame */
};

/* Receivers of broadcasts: called with a whole frame. */
typedef void (*floor_broadcast)(void *context, const uint8_t *frame, size_t size);

struct floor {
    enum floor_work work;
    int deflate; /* agree on permessage-deflate */
    int listener;
    floor_broadcast broadcast;
};

/* Read the command line (--port, --work, --compression), listen, print the ready line. */
void floor_start(struct floor *floor, int argc, char **argv, const char *name);

/* Take what was received; append to `out` what is due. Return the number of
 * messages. */
size_t floor_read(const struct floor *floor, struct floor_reader *reader,
                  const uint8_t *data, size_t size, struct bytes *out, void *context);

#endif
