/* SHA-1 (RFC 3174) of a short text, for Sec-WebSocket-Accept only. */

#ifndef SHA1_H
#define SHA1_H

#include <stddef.h>
#include <stdint.h>

/* `size` is at most 119: two blocks. */
void sha1(const char *text, size_t size, uint8_t digest[20]);

#endif
