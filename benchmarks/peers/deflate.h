/* permessage-deflate as a server does it that wants to be fast (RFC 7692): no message
 * refers to another one, so that each thread has one compressor for all clients. */

#ifndef DEFLATE_H
#define DEFLATE_H

#include "floor.h"

/* What the server answers to an offer. */
#define DEFLATE_AGREED                                                               \
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

/* Unpack a message and pack it again. Return the packed payload, which is valid until
 * the thread's next call; the process ends when there is no memory, or when the data is
 * wrong. */
const struct bytes *deflate_echo(const uint8_t *data, size_t size);

/* Free what the thread has. */
void deflate_free(void);

#endif
