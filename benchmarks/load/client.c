#define _GNU_SOURCE

#include "client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Key and answer of the example in RFC 6455, 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define RESPONSE_MAX 8192

int
client_init(struct client *client, uint32_t id, uint32_t sender, unsigned depth,
            size_t room)
{
    memset(client, 0, sizeof(*client));
    client->room = room;
    client->fd = -1;
    client->id = id;
    client->random = 0x9E3779B9u * (id + 1) | 1;
    reader_init(&client->reader, sender);
    client->sent_at = calloc(depth, sizeof(*client->sent_at));
    return client->sent_at == NULL ? -1 : 0;
}

void
client_free(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    free(client->out);
    free(client->response);
    free(client->sent_at);
    reader_free(&client->reader);
}

void
client_end(struct client *client)
{
    close(client->fd);
    client->fd = -1;
    client->state = STATE_NONE;
    client->response_size = 0;
    client->out_start = client->out_end = 0;
    client->reader.head_size = 0;
    client->reader.in_payload = 0;
}

int
client_fault(struct client *client, const char *what)
{
    if (client->reader.fault[0] == '\0')
        snprintf(client->reader.fault, sizeof(client->reader.fault), "%s", what);
    return -1;
}

static int
system_fault(struct client *client, const char *call)
{
    char what[96];

    snprintf(what, sizeof(what), "%s: %s", call, strerror(errno));
    return client_fault(client, what);
}

/* xorshift32 (Marsaglia 2003): a masking key per frame, not a secret. */
static uint32_t
next_key(struct client *client)
{
    uint32_t x = client->random;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return client->random = x;
}

/* Make room for `size` more bytes of output. */
static int
reserve(struct client *client, size_t size)
{
    size_t used = client->out_end - client->out_start;
    uint8_t *out;

    if (client->out_start == client->out_end)
        client->out_start = client->out_end = 0;
    if (client->out_end + size <= client->out_size)
        return 0;
    if (used + size <= client->out_size) {
        memmove(client->out, client->out + client->out_start, used);
    }
    else {
        size_t wanted = (used + size) * 2;
        out = malloc(wanted);
        if (out == NULL)
            return client_fault(client, "out of memory");
        if (used > 0)
            memcpy(out, client->out + client->out_start, used);
        free(client->out);
        client->out = out;
        client->out_size = wanted;
    }
    client->out_start = 0;
    client->out_end = used;
    return 0;
}

int
client_connect(struct client *client, int epoll, const struct sockaddr_in *address)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = client};
    int one = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return system_fault(client, "socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(client->fd, (const struct sockaddr *)address, sizeof(*address)) < 0
        && errno != EINPROGRESS)
        return system_fault(client, "connect");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        return system_fault(client, "epoll_ctl");
    client->polls_writing = 1;
    client->state = STATE_CONNECTING;
    return 0;
}

int
client_request(struct client *client, int epoll, const char *host, int deflate)
{
    int error = 0;
    socklen_t size = sizeof(error);
    char request[512];
    int length;

    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        errno = error;
        return system_fault(client, "connect");
    }
    length = snprintf(
        request, sizeof(request),
        "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
        host,
        deflate ? "Sec-WebSocket-Extensions: permessage-deflate; "
                  "client_max_window_bits\r\n"
                : "");
    if (length < 0 || (size_t)length >= sizeof(request))
        return client_fault(client, "the request is too long");
    if (reserve(client, length) < 0)
        return -1;
    memcpy(client->out + client->out_end, request, length);
    client->out_end += length;
    client->state = STATE_OPENING;
    return client_flush(client, epoll);
}

/* Value of a header field that occurs once; "" when it doesn't. */
static void
header_value(const char *response, const char *name, char *value, size_t size)
{
    size_t length = strlen(name);

    value[0] = '\0';
    for (const char *line = strstr(response, "\r\n"); line != NULL;
         line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *start = line + length + 1 + strspn(line + length + 1, " \t");
            size_t count = strcspn(start, "\r\n");
            snprintf(value, size, "%.*s", (int)count, start);
            return;
        }
    }
}

static int
check_response(struct client *client, int deflate)
{
    const char *response = client->response;
    char value[256];

    if (strncmp(response, "HTTP/1.1 101 ", 13) != 0) {
        char what[96];
        snprintf(what, sizeof(what), "refused: %.*s", (int)strcspn(response, "\r\n"),
                 response);
        return client_fault(client, what);
    }
    header_value(response, "Upgrade", value, sizeof(value));
    if (strcasecmp(value, "websocket") != 0)
        return client_fault(client, "the response has no Upgrade: websocket");
    header_value(response, "Connection", value, sizeof(value));
    if (strcasestr(value, "upgrade") == NULL)
        return client_fault(client, "the response has no Connection: Upgrade");
    header_value(response, "Sec-WebSocket-Accept", value, sizeof(value));
    if (strcmp(value, ACCEPT) != 0)
        return client_fault(client, "Sec-WebSocket-Accept is wrong");
    header_value(response, "Sec-WebSocket-Extensions", value, sizeof(value));
    if ((strncmp(value, "permessage-deflate", 18) == 0) != deflate)
        return client_fault(client, deflate ? "permessage-deflate was not agreed"
                                            : "an extension was agreed");
    return 0;
}

int
client_response(struct client *client, int deflate, const uint8_t **data,
                const uint8_t *end)
{
    if (client->response == NULL)
        client->response = malloc(RESPONSE_MAX + 1);
    if (client->response == NULL)
        return client_fault(client, "out of memory");
    while (*data < end) {
        size_t size = client->response_size;
        if (size == RESPONSE_MAX)
            return client_fault(client, "the response is too long");
        client->response[size++] = (char)*(*data)++;
        client->response[size] = '\0';
        client->response_size = size;
        if (size >= 4 && memcmp(client->response + size - 4, "\r\n\r\n", 4) == 0) {
            if (check_response(client, deflate) < 0)
                return -1;
            free(client->response);
            client->response = NULL;
            client->state = STATE_OPEN;
            return 0;
        }
    }
    return 0;
}

int
client_queue(struct client *client, const struct plan *plan)
{
    if (reserve(client, HEADER_MAX + client->room) < 0)
        return -1;
    client->out_end += frame_message(plan, client->id, client->sent, next_key(client),
                                     client->out + client->out_end);
    client->sent++;
    return 0;
}

int
client_queue_control(struct client *client, enum opcode opcode, const uint8_t *payload,
                     size_t size)
{
    if (reserve(client, HEADER_MAX + size) < 0)
        return -1;
    client->out_end += frame_control(opcode, payload, size, next_key(client),
                                     client->out + client->out_end);
    return 0;
}

int
client_flush(struct client *client, int epoll)
{
    while (client->out_start < client->out_end) {
        ssize_t count = send(client->fd, client->out + client->out_start,
                             client->out_end - client->out_start, MSG_NOSIGNAL);
        if (count >= 0) {
            client->out_start += count;
        }
        else if (errno == EAGAIN) {
            break;
        }
        else if (errno != EINTR) {
            return system_fault(client, "send");
        }
    }
    int wants = client->out_start < client->out_end;
    if (wants != client->polls_writing) {
        struct epoll_event event = {
            .events = EPOLLIN | (wants ? EPOLLOUT : 0),
            .data.ptr = client,
        };
        if (epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event) < 0)
            return system_fault(client, "epoll_ctl");
        client->polls_writing = wants;
    }
    return 0;
}
