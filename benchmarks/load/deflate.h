/* permessage-deflate as a client does it (RFC 7692, 7.2). */

#ifndef LOAD_DEFLATE_H
#define LOAD_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

struct z_stream_s;

/* Bytes before the content of a stored block (RFC 1951, 3.2.4). */
#define STORED_HEAD 5

/* Write the head of a block that stores the next `size` bytes as they are. */
void deflate_stored_head(size_t size, uint8_t out[STORED_HEAD]);

/* Compress `data` into blocks that refer to nothing before them, without the four
 * bytes that RFC 7692, 7.2.1 drops. Return memory to be freed; NULL if there is none. */
uint8_t *deflate_pack(const uint8_t *data, size_t size, size_t *packed);

/* The state of what a server compresses: it may refer to its earlier messages. */
struct z_stream_s *inflate_new(void);
void inflate_free(struct z_stream_s *stream);

/* Unpack into `out`, until there is no room or no data; `*data` moves. Return the
 * number of bytes, or -1 if the data is not what DEFLATE allows. */
long inflate_some(struct z_stream_s *stream, const uint8_t **data, const uint8_t *end,
                  uint8_t *out, size_t room);

#endif
