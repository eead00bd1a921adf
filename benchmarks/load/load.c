#define _GNU_SOURCE

#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (256 * 1024)
#define EVENTS 512

uint64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

int
load_init(struct load *load)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->all = calloc(load->clients, sizeof(*load->all));
    load->arrived = calloc(load->depth, sizeof(*load->arrived));
    load->buffer = malloc(BUFFER_SIZE);
    if (load->epoll < 0 || !load->all || !load->arrived || !load->buffer)
        return -1;
    for (unsigned i = 0; i < load->clients; i++) {
        uint32_t sender = load->work == WORK_BROADCAST ? 0 : i;
        if (client_init(&load->all[i], i, sender, load->depth, plan_room(&load->plan))
            < 0)
            return -1;
    }
    return 0;
}

void
load_free(struct load *load)
{
    for (unsigned i = 0; load->all && i < load->clients; i++)
        client_free(&load->all[i]);
    free(load->all);
    free(load->arrived);
    free(load->buffer);
    if (load->epoll >= 0)
        close(load->epoll);
    plan_free(&load->plan);
}

static int
report(struct client *client)
{
    fprintf(stderr, "load: client %" PRIu32 ", message %" PRIu64 ": %s\n", client->id,
            client->reader.sequence, client->reader.fault);
    return -1;
}

static int
queue(struct load *load, struct client *client, uint64_t now)
{
    client->sent_at[client->sent % load->depth] = now;
    load->in_flight += load->work == WORK_BROADCAST ? load->clients : 1;
    return client_queue(client, &load->plan);
}

static void
count(struct load *load, struct client *client, uint64_t wait)
{
    load->in_flight--;
    if (!load->measuring)
        return;
    histogram_add(&load->waits, wait);
    client->count++;
    client->wait_sum += wait;
    if (wait > client->wait_max)
        client->wait_max = wait;
}

static const uint8_t normal_closure[] = {1000 >> 8, 1000 & 0xFF};

static int
queue_close(struct client *client)
{
    return client_queue_control(client, OPCODE_CLOSE, normal_closure,
                                sizeof(normal_closure));
}

/* WORK_CONNECT: begin a connection, which is timed from here. */
static int
begin(struct load *load, struct client *client)
{
    client->sent_at[0] = now_ns();
    load->in_flight++;
    return client_connect(client, load->epoll, &load->address);
}

/* WORK_CONNECT: the server has closed the connection, as it should. */
static int
finish(struct load *load, struct client *client)
{
    count(load, client, now_ns() - client->sent_at[0]);
    client_end(client);
    if (load->sending)
        return begin(load, client);
    load->ended++;
    return 0;
}

/* The reader has found the expected message. */
static int
on_message(struct load *load, struct client *client, uint64_t now)
{
    unsigned slot = (client->reader.sequence - 1) % load->depth;
    struct client *sender =
        load->work == WORK_BROADCAST ? &load->all[0] : client;

    if (load->work == WORK_CONNECT) {
        client->state = STATE_CLOSING;
        return queue_close(client);
    }
    count(load, client, now - sender->sent_at[slot]);
    if (load->work == WORK_BROADCAST) {
        if (++load->arrived[slot] < load->clients)
            return 0;
        load->arrived[slot] = 0;
    }
    if (!load->sending)
        return 0;
    if (queue(load, sender, now) < 0)
        return -1;
    return sender == client ? 0 : client_flush(sender, load->epoll);
}

/* Read all frames in `data`; then write what they brought about. */
static int
on_data(struct load *load, struct client *client, const uint8_t *data,
        const uint8_t *end)
{
    uint64_t now = now_ns();

    while (client->state != STATE_CLOSED) {
        const struct client *sender =
            load->work == WORK_BROADCAST ? &load->all[0] : client;

        switch (reader_next(&client->reader, &load->plan, sender->sent, &data, end)) {
        case EVENT_MORE:
            return client_flush(client, load->epoll);
        case EVENT_MESSAGE:
            if (on_message(load, client, now) < 0)
                return -1;
            break;
        case EVENT_PING:
            load->pings++;
            if (client_queue_control(client, OPCODE_PONG, client->reader.control,
                                     client->reader.length) < 0)
                return -1;
            break;
        case EVENT_CLOSE:
            if (client->state == STATE_CLOSING) {
                client->state = STATE_CLOSED;
                return 0;
            }
            return client_fault(client, "the server closed");
        case EVENT_FAULT:
            return -1;
        }
    }
    return 0;
}

static int
start_next(struct load *load)
{
    struct client *client = &load->all[load->started++];

    return client_connect(client, load->epoll, &load->address) < 0 ? report(client)
                                                                   : 0;
}

static int
on_readable(struct load *load, struct client *client)
{
    ssize_t size = recv(client->fd, load->buffer, BUFFER_SIZE, 0);
    const uint8_t *data = load->buffer;
    const uint8_t *end;

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (size <= 0 && client->state == STATE_CLOSED)
        return finish(load, client);
    if (size <= 0)
        return client_fault(client, size == 0 ? "the connection ended" : strerror(errno));
    end = data + size;
    if (client->state == STATE_OPENING) {
        if (client_response(client, load->deflate, &data, end) < 0)
            return -1;
        if (client->state != STATE_OPEN)
            return 0;
        if (load->work == WORK_CONNECT && client_queue(client, &load->plan) < 0)
            return -1;
        load->open++;
        if (load->started < load->clients && start_next(load) < 0)
            return -1;
    }
    if (on_data(load, client, data, end) < 0)
        return -1;
    /* The end may have come with the Close frame, and is told only once. */
    return client->state == STATE_CLOSED ? on_readable(load, client) : 0;
}

static int
on_event(struct load *load, struct client *client, uint32_t events)
{
    if (client->state == STATE_CONNECTING)
        return client_request(client, load->epoll, load->host, load->deflate);
    if (events & EPOLLOUT && client_flush(client, load->epoll) < 0)
        return -1;
    if (events & ~EPOLLOUT)
        return on_readable(load, client);
    return 0;
}

int
load_run(struct load *load, uint64_t deadline, int (*done)(const struct load *))
{
    struct epoll_event events[EVENTS];

    for (;;) {
        uint64_t now = now_ns();
        int count, timeout;

        if (done != NULL && done(load))
            return 1;
        if (now >= deadline)
            return 0;
        timeout = deadline - now < 1000000 ? 1 : (deadline - now) / 1000000;
        count = epoll_wait(load->epoll, events, EVENTS, timeout);
        if (count < 0 && errno != EINTR) {
            perror("load: epoll_wait");
            return -1;
        }
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client == NULL)
                return 1; /* standard input: see main.c */
            if (client->fd >= 0 && on_event(load, client, events[i].events) < 0)
                return report(client);
        }
    }
}

static int
is_open(const struct load *load)
{
    return load->open == load->clients;
}

int
load_open(struct load *load, uint64_t deadline)
{
    int done;

    while (load->started < load->clients && load->started < load->batch)
        if (start_next(load) < 0)
            return -1;
    done = load_run(load, deadline, is_open);
    if (done == 0)
        fprintf(stderr, "load: only %u of %u clients are open in time\n", load->open,
                load->clients);
    return done == 1 ? 0 : -1;
}

int
load_start(struct load *load)
{
    unsigned senders = load->work == WORK_BROADCAST ? 1 : load->clients;

    load->sending = 1;
    if (load->work == WORK_CONNECT) {
        for (; load->started < load->clients; load->started++)
            if (begin(load, &load->all[load->started]) < 0)
                return report(&load->all[load->started]);
        return 0;
    }
    for (unsigned i = 0; i < senders; i++) {
        struct client *client = &load->all[i];
        for (unsigned j = 0; j < load->depth; j++)
            if (queue(load, client, now_ns()) < 0)
                return report(client);
        if (client_flush(client, load->epoll) < 0)
            return report(client);
    }
    return 0;
}

int
is_drained(const struct load *load)
{
    return load->in_flight == 0;
}

/* After our Close frame: skip everything up to the end of the connection. */
static void
skip(struct load *load, struct client *client)
{
    ssize_t size = recv(client->fd, load->buffer, BUFFER_SIZE, 0);

    if (size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    close(client->fd);
    client->fd = -1;
    load->ended++;
}

int
load_close(struct load *load, uint64_t deadline)
{
    struct epoll_event events[EVENTS];

    /* Connections that are under way here had all the time to end. */
    if (load->work == WORK_CONNECT)
        return 0;
    for (unsigned i = 0; i < load->clients; i++) {
        struct client *client = &load->all[i];
        if (queue_close(client) < 0 || client_flush(client, load->epoll) < 0)
            return report(client);
        client->state = STATE_CLOSED;
    }
    while (load->ended < load->clients && now_ns() < deadline) {
        int count = epoll_wait(load->epoll, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client != NULL && client->fd >= 0)
                skip(load, client);
        }
    }
    return 0;
}

uint64_t
load_oldest(const struct load *load)
{
    uint64_t now = now_ns();
    uint64_t oldest = 0;

    for (unsigned i = 0; i < load->clients; i++) {
        const struct client *client = &load->all[i];
        const struct client *sender =
            load->work == WORK_BROADCAST ? &load->all[0] : client;
        uint64_t next = client->reader.sequence;

        int due = load->work == WORK_CONNECT ? client->fd >= 0 : next < sender->sent;

        if (due && now - sender->sent_at[next % load->depth] > oldest)
            oldest = now - sender->sent_at[next % load->depth];
    }
    return oldest;
}
