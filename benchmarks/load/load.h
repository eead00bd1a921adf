/* The loop: clients, workload, and what was measured. */

#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "client.h"
#include "histogram.h"

enum work {
    WORK_ECHO,      /* each client sends; the server returns to the same client */
    WORK_BROADCAST, /* the first client sends; the server sends to all */
    WORK_IDLE,      /* clients connect, and stay until standard input ends */
    WORK_CONNECT,   /* connect, one echo, close; and again */
};

struct load {
    /* What to do. */
    enum work work;
    struct plan plan;
    unsigned clients;
    unsigned depth; /* messages in flight, per sender */
    unsigned batch; /* handshakes in flight */
    int deflate;
    char host[64]; /* of the request */
    struct sockaddr_in address;

    /* What is going on. */
    int epoll;
    int sending;   /* an answer brings the next message */
    int measuring; /* an answer is counted */
    struct client *all;
    unsigned started; /* clients that began to connect */
    unsigned open;
    unsigned ended;
    uint64_t in_flight; /* messages without their answer, over all clients */
    unsigned *arrived;  /* broadcasts: receivers so far, a ring of `depth` */
    uint8_t *buffer;

    /* What was measured. */
    /* Nanoseconds from queueing to the answer; with WORK_CONNECT, from connecting
     * to the end of the connection. */
    struct histogram waits;
    uint64_t pings;
};

uint64_t now_ns(void);

int load_init(struct load *load);
void load_free(struct load *load);

/* Handle what happens until `deadline`, or until `done(load)`. Return 1 when done,
 * 0 at the deadline, and -1 after a fault, which is on standard error. */
int load_run(struct load *load, uint64_t deadline, int (*done)(const struct load *));

/* Connect all clients, at most `batch` at once. */
int load_open(struct load *load, uint64_t deadline);

/* Send the first `depth` messages of every sender. */
int load_start(struct load *load);

/* Send Close frames, and wait for the ends of the connections. */
int load_close(struct load *load, uint64_t deadline);

/* Age of the oldest message without an answer; 0 when there is none. */
uint64_t load_oldest(const struct load *load);

int is_drained(const struct load *load);

#endif
