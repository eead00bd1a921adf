/* One connection of the load generator: connecting, opening handshake, output. */

#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <netinet/in.h>

#include "message.h"
#include "reader.h"

enum state {
    STATE_NONE,       /* not connected yet */
    STATE_CONNECTING, /* TCP handshake under way */
    STATE_OPENING,    /* request sent, response awaited */
    STATE_OPEN,
    STATE_CLOSING, /* Close frame sent, theirs awaited */
    STATE_CLOSED,  /* the end of the connection awaited */
};

struct client {
    int fd;
    uint32_t id;
    enum state state;
    int polls_writing; /* registered for EPOLLOUT */
    uint32_t random;   /* of masking keys */
    size_t room;       /* of a message, see plan_room() */
    struct reader reader;

    /* Output that the socket did not take yet. */
    uint8_t *out;
    size_t out_start;
    size_t out_end;
    size_t out_size;

    /* Opening handshake; freed when it is over. */
    char *response;
    size_t response_size;

    /* Messages queued so far, and when: a ring of `depth` times. */
    uint64_t sent;
    uint64_t *sent_at;

    /* Answers within the measured time. */
    uint64_t count;
    uint64_t wait_sum;
    uint64_t wait_max;
};

int client_init(struct client *client, uint32_t id, uint32_t sender, unsigned depth,
                size_t room);
void client_free(struct client *client);
/* Close the socket, and be ready to connect anew. */
void client_end(struct client *client);

/* Each returns 0, or -1 with client->reader.fault set. */
int client_connect(struct client *client, int epoll,
                   const struct sockaddr_in *address);
int client_request(struct client *client, int epoll, const char *host, int deflate);
int client_queue(struct client *client, const struct plan *plan);
int client_queue_control(struct client *client, enum opcode opcode,
                         const uint8_t *payload, size_t size);
int client_flush(struct client *client, int epoll);

/* Take bytes of the response. When it is complete and right, the state is OPEN
 * and `*data` is at the first byte of the first frame. */
int client_response(struct client *client, int deflate, const uint8_t **data,
                    const uint8_t *end);

int client_fault(struct client *client, const char *what);

#endif
