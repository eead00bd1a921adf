/* The accelerator of a connection: what its C files share. See link.py.
 *
 * Two types: a Link per connection, a Corks per server. Who guards what stands at
 * the fields; fields without a word belong to the thread that is in step().
 */

#ifndef WEBSOCK_LINK_H
#define WEBSOCK_LINK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct LinkObject LinkObject;

typedef struct {
    atomic_int entering; /* whether somebody waits for the GIL */
    atomic_int waiting;  /* how many wait behind it */
    atomic_int turn;     /* what they wait on: a new one for each that may go on */
} Gate;

typedef struct {
    PyObject_HEAD
    Gate gate;
    PyObject *on_busy; /* called when corking begins to pay */
    atomic_int corking;
    atomic_ulong choice; /* another number when functions must be chosen anew */
    atomic_ulong steps;
    atomic_uint_least64_t checked_at; /* when steps was a multiple of CHECK_EVERY */
    /* The main thread's. */
    unsigned long steps_before;
    int quiet;
    /* Guards the list, oldest first, of links that have corked something. */
    pthread_mutex_t lock;
    LinkObject *first, *last;
} CorksObject;

struct LinkObject {
    PyObject_HEAD
    CorksObject *corks;
    int fd;
    uint64_t max_size;

    /* Guards the writing half of the connection, in Python and here. Who holds it
     * may wait for the GIL: so nobody waits for it while having the GIL. */
    pthread_mutex_t lock;
    atomic_int plain; /* whether frames may go out without asking the protocol */
    unsigned char *cork; /* frames that wait for the end of their batch */
    size_t cork_start, cork_size, cork_capacity;
    PyObject *tail; /* owner of the payload that follows the cork, if it's large */
    const char *tail_data;
    size_t tail_size;

    /* The read token: its owner reads. It isn't held while a callback runs; nobody
     * waits for it while having the GIL. */
    pthread_mutex_t token;
    int taken; /* whether somebody has it; guarded by it */

    PyObject *spent;            /* a tail that was written without the GIL */
    atomic_int stepping;        /* one thread in step() at a time */
    atomic_uintptr_t owner;     /* the thread whose callbacks run; 0: none */
    atomic_int stop;            /* whether to come back after this callback */
    atomic_uint_least64_t heard_at; /* monotonic clock, in nanoseconds */
    unsigned char *rest;        /* read, but not processed by the last step */
    size_t rest_size;
    int broken; /* whether there was no memory for it: nothing can follow */
    const unsigned char *unread; /* of the running batch */
    size_t unread_size;
    int took; /* whether a callback of this run has taken that */

    /* Guarded by the lock of corks. */
    LinkObject *before, *after;
    /* Whom tick() returns; borrowed: whoever lets go of a connection has taken what
     * is corked, which ends the listing. */
    PyObject *connection;
    uint64_t corked_at;
    int listed; /* changed with both locks held, so read with either */
};

/* Before taking the GIL; without it. */
void gate_enter(Gate *gate);
/* After taking the GIL. */
void gate_leave(Gate *gate);

/* Whether an object is a Corks. */
int corks_check(PyObject *object);
/* Time of the monotonic clock, in nanoseconds. */
uint64_t corks_now(void);
/* Count a step, and begin to cork if there are many. Needs the GIL; -1 and an
 * exception if on_busy raises. */
int corks_count(CorksObject *corks);
/* Put a link on the list; returns whether corking is on. */
int corks_add(CorksObject *corks, LinkObject *link);
/* Take it off, if it is there; with the link's lock held. */
void corks_remove(CorksObject *corks, LinkObject *link);

/* Whether an object is a Link. */
int link_check(PyObject *object);
/* Write what is corked, as far as it goes without waiting; with the lock held, with
 * or without the GIL, by the thread that reads. Returns whether nothing is left. */
int link_write(LinkObject *self);
/* Cork a frame with a small payload; with the lock held and the GIL. Returns 0 if
 * there is no memory, without an exception. */
int link_cork(LinkObject *self, int first, const char *payload, size_t size);
/* Cork bytes as they are; with the lock held. Returns 0 if there is no memory. */
int link_cork_data(LinkObject *self, const char *data, size_t size);
/* Drop what was written without the GIL; with it. */
void link_drop_spent(LinkObject *self);
/* Get the read token, with the GIL, and give it back. */
void link_begin(LinkObject *self);
void link_end(LinkObject *self);
/* The thread that calls, as Link.owner has it. */
uintptr_t link_self(void);

PyObject *link_step(LinkObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *link_run(LinkObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *link_send_all(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

extern PyType_Spec link_spec, corks_spec;

#endif
