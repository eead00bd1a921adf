/* The limit of the machine: one thread, one epoll, nothing else. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"

#define EVENTS 512

struct client {
    int fd;
    int failed;
    int polls_writing;
    struct floor_reader reader;
    struct bytes out; /* what the socket did not take */
    struct client *next, *previous;
};

static struct floor server;
static int epoll;
static struct client everybody = {.next = &everybody, .previous = &everybody};

/* Send what the socket takes, and keep the rest. */
static void
write_some(struct client *client, const uint8_t *data, size_t size)
{
    if (client->out.used == 0) {
        while (size > 0 && !client->failed) {
            ssize_t count = send(client->fd, data, size, MSG_NOSIGNAL);
            if (count >= 0) {
                data += count;
                size -= count;
            }
            else if (errno == EAGAIN) {
                break;
            }
            else if (errno != EINTR) {
                client->failed = 1;
            }
        }
    }
    if (size > 0 && !client->failed)
        bytes_append(&client->out, data, size);
    if ((client->out.used > 0) != client->polls_writing && !client->failed) {
        client->polls_writing = client->out.used > 0;
        struct epoll_event event = {
            .events = EPOLLIN | (client->polls_writing ? EPOLLOUT : 0),
            .data.ptr = client,
        };
        epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
    }
}

static void
broadcast(void *context, const uint8_t *frame, size_t size)
{
    (void)context;
    for (struct client *c = everybody.next; c != &everybody; c = c->next)
        if (c->reader.open)
            write_some(c, frame, size);
}

static void
accept_all(void)
{
    for (;;) {
        struct client *client;
        struct epoll_event event = {.events = EPOLLIN};
        int one = 1;
        int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        client = calloc(1, sizeof(*client));
        if (client == NULL)
            abort();
        client->fd = fd;
        client->next = everybody.next;
        client->previous = &everybody;
        client->next->previous = client->previous->next = client;
        event.data.ptr = client;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void
end(struct client *client)
{
    client->next->previous = client->previous;
    client->previous->next = client->next;
    close(client->fd);
    bytes_free(&client->out);
    bytes_free(&client->reader.carry);
    free(client);
}

static void
handle(struct client *client, uint32_t events)
{
    static uint8_t data[FLOOR_READ];
    static struct bytes due;

    if (events & EPOLLOUT) {
        struct bytes rest = client->out;
        memset(&client->out, 0, sizeof(client->out));
        write_some(client, rest.data, rest.used);
        bytes_free(&rest);
    }
    if (events & ~EPOLLOUT) {
        ssize_t size = recv(client->fd, data, sizeof(data), 0);
        if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
            client->failed = 1;
        if (size > 0) {
            due.used = 0;
            floor_read(&server, &client->reader, data, size, &due, client);
            write_some(client, due.data, due.used);
        }
    }
    if (client->failed || (client->reader.done && client->out.used == 0))
        end(client);
}

int
main(int argc, char **argv)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};

    server.broadcast = broadcast;
    floor_start(&server, argc, argv, "floor_epoll");
    fcntl(server.listener, F_SETFL, O_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, server.listener, &event) < 0) {
        perror("floor_epoll");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_all();
            else
                handle(events[i].data.ptr, events[i].events);
        }
    }
}
