/* The limit of the model: a thread per client, blocking calls, nothing else. */

#define _GNU_SOURCE

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deflate.h"
#include "floor.h"

struct client {
    int fd;
    struct floor_reader reader;
    pthread_mutex_t writing; /* guards the order of bytes on `fd` */
    struct client *next, *previous;
};

static struct floor server;
/* Guards the list of clients, from which broadcasts read. */
static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER;
static struct client everybody = {.next = &everybody, .previous = &everybody};

static int
write_all(struct client *client, const uint8_t *data, size_t size)
{
    int result = 0;

    pthread_mutex_lock(&client->writing);
    while (size > 0) {
        ssize_t count = send(client->fd, data, size, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            result = -1;
            break;
        }
        data += count;
        size -= count;
    }
    pthread_mutex_unlock(&client->writing);
    return result;
}

static void
broadcast(void *context, const uint8_t *frame, size_t size)
{
    (void)context;
    pthread_mutex_lock(&listing);
    for (struct client *c = everybody.next; c != &everybody; c = c->next)
        write_all(c, frame, size);
    pthread_mutex_unlock(&listing);
}

static void
list(struct client *client)
{
    pthread_mutex_lock(&listing);
    client->next = everybody.next;
    client->previous = &everybody;
    client->next->previous = client->previous->next = client;
    pthread_mutex_unlock(&listing);
}

static void
unlist(struct client *client)
{
    pthread_mutex_lock(&listing);
    client->next->previous = client->previous;
    client->previous->next = client->next;
    pthread_mutex_unlock(&listing);
}

static void *
serve(void *argument)
{
    struct client *client = argument;
    uint8_t data[FLOOR_READ];
    struct bytes out = {0};
    int listed = 0;

    while (!client->reader.done) {
        ssize_t size = recv(client->fd, data, sizeof(data), 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            break;
        floor_read(&server, &client->reader, data, size, &out, client);
        if (!listed && client->reader.open) {
            list(client);
            listed = 1;
        }
        if (out.used > 0 && write_all(client, out.data, out.used) < 0)
            break;
        out.used = 0;
        if (out.size > FLOOR_READ * 4)
            bytes_free(&out);
    }
    if (listed)
        unlist(client);
    close(client->fd);
    bytes_free(&out);
    bytes_free(&client->reader.carry);
    free(client);
    deflate_free();
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_attr_t attributes;

    server.broadcast = broadcast;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    floor_start(&server, argc, argv, "floor_threads");
    for (;;) {
        struct client *client;
        pthread_t thread;
        int one = 1;
        int fd = accept(server.listener, NULL, NULL);

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        client = calloc(1, sizeof(*client));
        if (client == NULL)
            abort();
        client->fd = fd;
        pthread_mutex_init(&client->writing, NULL);
        if (pthread_create(&thread, &attributes, serve, client) != 0) {
            perror("floor_threads: pthread_create");
            return 1;
        }
    }
}
