#define _GNU_SOURCE

#include "floor.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deflate.h"
#include "sha1.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define REQUEST_MAX 8192

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

uint8_t *
bytes_reserve(struct bytes *bytes, size_t size)
{
    if (bytes->used + size > bytes->size) {
        bytes->size = (bytes->used + size) * 2;
        bytes->data = realloc(bytes->data, bytes->size);
        if (bytes->data == NULL)
            die("realloc");
    }
    return bytes->data + bytes->used;
}

void
bytes_append(struct bytes *bytes, const void *data, size_t size)
{
    memcpy(bytes_reserve(bytes, size), data, size);
    bytes->used += size;
}

void
bytes_consume(struct bytes *bytes, size_t size)
{
    bytes->used -= size;
    if (bytes->used == 0)
        bytes_free(bytes);
    else
        memmove(bytes->data, bytes->data + size, bytes->used);
}

void
bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    memset(bytes, 0, sizeof(*bytes));
}

static void
usage(const char *name)
{
    fprintf(stderr, "usage: %s --port=N --work=echo|broadcast|wait "
                    "--compression=none|deflate\n", name);
    exit(2);
}

void
floor_start(struct floor *floor, int argc, char **argv, const char *name)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(address);
    struct rlimit limit;
    int one = 1;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--port=", 7) == 0)
            address.sin_port = htons(atoi(argv[i] + 7));
        else if (strcmp(argv[i], "--work=echo") == 0)
            floor->work = FLOOR_ECHO;
        else if (strcmp(argv[i], "--work=broadcast") == 0)
            floor->work = FLOOR_BROADCAST;
        else if (strcmp(argv[i], "--work=wait") == 0)
            floor->work = FLOOR_WAIT;
        else if (strcmp(argv[i], "--compression=deflate") == 0)
            floor->deflate = 1;
        else if (strcmp(argv[i], "--compression=none") == 0)
            floor->deflate = 0;
        else
            usage(name);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    floor->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(floor->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (floor->listener < 0
        || bind(floor->listener, (struct sockaddr *)&address, sizeof(address)) < 0
        || listen(floor->listener, 1024) < 0
        || getsockname(floor->listener, (struct sockaddr *)&address, &size) < 0)
        die(name);
    printf("{\"ready\": true, \"port\": %d, \"name\": \"%s\", \"version\": \"C\", "
           "\"notes\": [\"gcc " __VERSION__ "\"]}\n",
           ntohs(address.sin_port), name);
    fflush(stdout);
}

/* Base64 of a digest (20 bytes), with its padding and a NUL. */
static void
encode(const uint8_t digest[20], char out[29])
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (int i = 0; i < 21; i += 3) {
        uint32_t group = digest[i] << 16 | digest[i + 1] << 8
                         | (i + 2 < 20 ? digest[i + 2] : 0);
        for (int j = 0; j < 4; j++)
            *out++ = digits[group >> (18 - 6 * j) & 63];
    }
    out[-1] = '=';
    *out = '\0';
}

/* Answer a complete request in `text`, which ends with NUL. */
static void
answer(const struct floor *floor, struct floor_reader *reader, const char *text,
       struct bytes *out)
{
    static const char name[] = "\r\nSec-WebSocket-Key:";
    const char *key = strcasestr(text, name);
    char joined[128], accept[29], response[512];
    uint8_t digest[20];
    int length;

    if (key == NULL) {
        static const char refusal[] = "HTTP/1.1 426 Upgrade Required\r\n"
                                      "Upgrade: websocket\r\nConnection: close\r\n"
                                      "Content-Length: 0\r\n\r\n";
        bytes_append(out, refusal, sizeof(refusal) - 1);
        reader->done = 1;
        return;
    }
    key += sizeof(name) - 1;
    key += strspn(key, " \t");
    length = snprintf(joined, sizeof(joined), "%.*s" GUID,
                      (int)strcspn(key, " \t\r\n") & 63, key);
    sha1(joined, length, digest);
    encode(digest, accept);
    length = snprintf(response, sizeof(response),
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
                      accept,
                      floor->deflate && strcasestr(text, "permessage-deflate")
                          ? "Sec-WebSocket-Extensions: " DEFLATE_AGREED "\r\n"
                          : "");
    bytes_append(out, response, length);
    reader->open = 1;
}

/* Consume a request, if it is complete. */
static size_t
read_request(const struct floor *floor, struct floor_reader *reader,
             const uint8_t *data, size_t size, struct bytes *out)
{
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    char text[REQUEST_MAX + 1];
    size_t length;

    if (end == NULL) {
        reader->done = size > REQUEST_MAX;
        return 0;
    }
    length = end + 4 - data;
    if (length > REQUEST_MAX) {
        reader->done = 1;
        return 0;
    }
    memcpy(text, data, length);
    text[length] = '\0';
    answer(floor, reader, text, out);
    return length;
}

/* Write a frame: our header, and their payload without its mask. */
static void
write_frame(struct bytes *out, int opcode, const uint8_t *payload, size_t size,
            const uint8_t key[4])
{
    uint8_t *at = bytes_reserve(out, 10 + size);
    uint64_t wide;
    size_t i = 0;

    *at++ = 0x80 | opcode;
    if (size < 126) {
        *at++ = size;
    }
    else if (size < 65536) {
        *at++ = 126;
        *at++ = size >> 8;
        *at++ = size;
    }
    else {
        *at++ = 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *at++ = (uint64_t)size >> shift;
    }
    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, payload + i, 8);
        word ^= wide;
        memcpy(at + i, &word, 8);
    }
    for (; i < size; i++)
        at[i] = payload[i] ^ key[i & 3];
    out->used = at + size - out->data;
}

/* Answer a compressed message with itself, compressed anew. */
static void
echo_packed(int opcode, const uint8_t *payload, size_t size, const uint8_t key[4],
            struct bytes *out)
{
    static const uint8_t none[4];
    struct bytes frame = {0};
    const struct bytes *packed;

    write_frame(&frame, opcode, payload, size, key);
    packed = deflate_echo(frame.data + frame.used - size, size);
    bytes_free(&frame);
    size = out->used;
    write_frame(out, opcode, packed->data, packed->used, none);
    out->data[size] |= 0x40; /* RSV1 */
}

/* Consume one frame, if it is complete; return its length, or 0. */
static size_t
read_frame(const struct floor *floor, struct floor_reader *reader,
           const uint8_t *data, size_t size, struct bytes *out, void *context,
           size_t *messages)
{
    size_t head = 2;
    uint64_t length;
    int opcode;

    if (size < 2)
        return 0;
    opcode = data[0] & 0x0F;
    length = data[1] & 0x7F;
    if ((data[0] & (floor->deflate ? 0xB0 : 0xF0)) != 0x80 || !(data[1] & 0x80) || opcode == 0) {
        reader->done = 1;
        return 0;
    }
    if (length > 125) {
        int count = length == 126 ? 2 : 8;
        head += count;
        if (size < head)
            return 0;
        length = 0;
        for (int i = 0; i < count; i++)
            length = length << 8 | data[2 + i];
        if (length > 1 << 26) {
            reader->done = 1;
            return 0;
        }
    }
    if (size < head + 4 + length)
        return 0;

    if (data[0] & 0x40) {
        echo_packed(opcode, data + head + 4, length, data + head, out);
        ++*messages;
    }
    else if (opcode < 8 && floor->work == FLOOR_BROADCAST) {
        struct bytes frame = {0};
        write_frame(&frame, opcode, data + head + 4, length, data + head);
        floor->broadcast(context, frame.data, frame.used);
        bytes_free(&frame);
        ++*messages;
    }
    else if (opcode < 8) {
        if (floor->work == FLOOR_WAIT)
            usleep(5000);
        write_frame(out, opcode, data + head + 4, length, data + head);
        ++*messages;
    }
    else if (opcode != 10) { /* Ping: Pong; Close: Close */
        write_frame(out, opcode == 9 ? 10 : 8, data + head + 4, length, data + head);
        reader->done = opcode == 8;
    }
    return head + 4 + length;
}

size_t
floor_read(const struct floor *floor, struct floor_reader *reader,
           const uint8_t *data, size_t size, struct bytes *out, void *context)
{
    int carried = reader->carry.used > 0;
    size_t messages = 0, used = 0, step;

    if (carried) {
        bytes_append(&reader->carry, data, size);
        data = reader->carry.data;
        size = reader->carry.used;
    }
    do {
        if (reader->open)
            step = read_frame(floor, reader, data + used, size - used, out, context,
                              &messages);
        else
            step = read_request(floor, reader, data + used, size - used, out);
        used += step;
    } while (step > 0 && !reader->done);
    if (carried)
        bytes_consume(&reader->carry, used);
    else if (used < size)
        bytes_append(&reader->carry, data + used, size - used);
    return messages;
}
