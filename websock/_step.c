/* The step of a connection: write what is corked, wait, read, call back.
 *
 * One hand-over of the GIL for as many messages as one read brings: everything but
 * the callbacks runs without it. Whole text and binary frames without reserved bits
 * are processed here, and Pings; the first byte of anything else, and whatever
 * comes behind it, is returned as it came, for the core to judge.
 */

#include "_link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "_payload.h"

enum {
    /* On the stack, of which a wait touches nothing: what a blocked thread holds
     * resident is what its last reads have touched. */
    BUFFER_SIZE = 32768,
    GROW_FROM = 131072, /* first buffer of a message that is longer than that */
    CONTROL_LIMIT = 125,
    TEXT = 0x81,
    BINARY = 0x82,
    PING = 0x89,
    PONG = 0x8A,
};

/* How long a choice is good for if nobody says that it isn't, in nanoseconds: levels of
 * loggers change without a word. */
static const uint64_t CHOICE_AGE = UINT64_C(50000000);

typedef enum {
    PARTIAL, /* as far as it's there, it may become a frame for us */
    WHOLE,
    OTHER, /* something for the core */
} Verdict;

typedef struct {
    int first;
    size_t head, size; /* no head: it isn't known yet */
    unsigned char key[4];
} Frame;

typedef struct {
    unsigned char *data;
    size_t size, capacity;
    unsigned char *heap; /* data, if it isn't on the stack */
    /* Of the frame in front, which arrives in pieces: how much of the payload is
     * unmasked in place, and how much of that is known to be characters. */
    size_t unmasked, checked;
} Batch;

/* What is called for each message, and how long that is good for. */
typedef struct {
    PyObject *choose, *function; /* no function: it's chosen at the next message */
    unsigned long number;
    uint64_t chosen_at;
} Choice;

typedef enum {
    READY,       /* there is a whole frame, or something for the core */
    ENDED,       /* nothing more will come */
    BLOCKED,     /* what is corked doesn't go out */
    INTERRUPTED, /* a signal */
    NO_MEMORY,
} Outcome;

static Verdict
look(const LinkObject *self, const unsigned char *data, size_t size, Frame *frame)
{
    uint64_t length;
    size_t head = 6;

    frame->head = 0;
    if (size == 0) {
        return PARTIAL;
    }
    frame->first = data[0];
    if (data[0] != TEXT && data[0] != BINARY && data[0] != PING) {
        return OTHER;
    }
    if (size == 1) {
        return PARTIAL;
    }
    if (!(data[1] & 0x80)) {
        return OTHER;
    }
    length = data[1] & 0x7F;
    if (data[0] == PING && length > CONTROL_LIMIT) {
        return OTHER;
    }
    if (length == 126) {
        if (size < 4) {
            return PARTIAL;
        }
        head = 8;
        length = (uint64_t)data[2] << 8 | data[3];
        if (length < 126) {
            return OTHER;
        }
    }
    else if (length == 127) {
        if (size < 10) {
            return PARTIAL;
        }
        head = 14;
        length = 0;
        for (int i = 2; i < 10; i++) {
            length = length << 8 | data[i];
        }
        if (length < 65536 || length > PTRDIFF_MAX / 2) {
            return OTHER;
        }
    }
    if (length > self->max_size && data[0] != PING) {
        return OTHER;
    }
    if (size < head) {
        return PARTIAL;
    }
    memcpy(frame->key, data + head - 4, 4);
    frame->head = head;
    frame->size = (size_t)length;
    return size - head < length ? PARTIAL : WHOLE;
}

/* XOR a piece of a payload in place; its first byte is number offset. */
static void
mask_from(unsigned char *data, size_t size, const unsigned char key[4], size_t offset)
{
    unsigned char turned[4];

    for (size_t i = 0; i < 4; i++) {
        turned[i] = key[(i + offset) & 3];
    }
    mask_bytes(data, data, size, turned);
}

/* Unmask what has come of the frame in front, and return whether it may become
 * UTF-8: a text fails at its first impossible byte (8.1), not at its end. */
static int
advance(Batch *batch, const Frame *frame)
{
    unsigned char *payload = batch->data + frame->head;
    size_t there = batch->size - frame->head;
    int valid = 1;

    if (there > frame->size) {
        there = frame->size;
    }
    mask_from(payload + batch->unmasked, there - batch->unmasked, frame->key,
              batch->unmasked);
    batch->unmasked = there;
    if (frame->first == TEXT) {
        batch->checked +=
            scan_utf8(payload + batch->checked, there - batch->checked, &valid);
    }
    return valid;
}

/* Make the batch what came over the wire again. */
static void
undo(Batch *batch, const Frame *frame)
{
    if (batch->unmasked) {
        mask_from(batch->data + frame->head, batch->unmasked, frame->key, 0);
    }
    batch->unmasked = batch->checked = 0;
}

static int
grow(Batch *batch, size_t wanted)
{
    size_t capacity = batch->capacity * 2;
    unsigned char *heap;

    if (capacity < GROW_FROM) {
        capacity = GROW_FROM;
    }
    if (capacity > wanted) {
        capacity = wanted;
    }
    heap = realloc(batch->heap, capacity);
    if (heap == NULL) {
        return 0;
    }
    if (batch->heap == NULL) {
        memcpy(heap, batch->data, batch->size);
    }
    batch->data = batch->heap = heap;
    batch->capacity = capacity;
    return 1;
}

/* Write what is corked; while the peer doesn't take it, wait for it to do so or to
 * send. Without the GIL. */
static int
write_corked(LinkObject *self)
{
    struct pollfd socket = {.fd = self->fd, .events = POLLIN | POLLOUT};
    int done;

    for (;;) {
        pthread_mutex_lock(&self->lock);
        done = link_write(self);
        pthread_mutex_unlock(&self->lock);
        if (done) {
            return 1;
        }
        if (poll(&socket, 1, -1) < 0 || socket.revents != POLLOUT) {
            return 0;
        }
    }
}

static void
begin_with_rest(LinkObject *self, Batch *batch)
{
    if (self->rest_size > batch->capacity) {
        batch->data = batch->heap = self->rest;
        batch->capacity = self->rest_size;
    }
    else if (self->rest_size) {
        memcpy(batch->data, self->rest, self->rest_size);
        free(self->rest);
    }
    batch->size = self->rest_size;
    self->rest = NULL;
    self->rest_size = 0;
}

/* Everything before the callbacks, without the GIL. */
static Outcome
wait_for_frames(LinkObject *self, Batch *batch, Frame *frame)
{
    int arrived = 0;

    if (!write_corked(self)) {
        return BLOCKED;
    }
    if (self->broken) {
        return ENDED;
    }
    begin_with_rest(self, batch);
    for (;;) {
        Verdict verdict = look(self, batch->data, batch->size, frame);
        ssize_t count;

        if (arrived && verdict != OTHER) {
            /* A Pong may mean nothing: the core knows. */
            atomic_store(&self->heard_at, corks_now());
        }
        if (verdict != PARTIAL) {
            return READY;
        }
        if (frame->head) {
            if (!advance(batch, frame)) {
                return READY;
            }
            if (batch->size == batch->capacity &&
                !grow(batch, frame->head + frame->size)) {
                return NO_MEMORY;
            }
        }
        count = recv(self->fd, batch->data + batch->size,
                     batch->capacity - batch->size, 0);
        if (count > 0) {
            batch->size += (size_t)count;
            arrived = 1;
        }
        else if (count < 0 && errno == EINTR) {
            return INTERRUPTED;
        }
        else {
            return ENDED;
        }
    }
}

/* What has arrived is lost for lack of memory: an exception, if there is none yet, and
 * the end of the stream, because nothing that follows can be understood. */
static void
lose(LinkObject *self)
{
    self->broken = 1;
    if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
}

/* Keep what the next step begins with, whether there is an exception or not; returns
 * whether that was possible. */
static int
keep_rest(LinkObject *self, Batch *batch, size_t position)
{
    size_t size = batch->size - position;

    if (size == 0) {
        return 1;
    }
    if (position == 0 && batch->heap != NULL) {
        self->rest = batch->heap;
        batch->heap = NULL;
    }
    else {
        self->rest = malloc(size);
        if (self->rest == NULL) {
            lose(self);
            return 0;
        }
        memcpy(self->rest, batch->data + position, size);
    }
    self->rest_size = size;
    return 1;
}

/* The message in a whole frame whose payload is unmasked; NULL without an exception
 * if it isn't UTF-8. */
static PyObject *
make_message(int first, const unsigned char *payload, size_t size)
{
    PyObject *message;

    if (first == BINARY) {
        return PyBytes_FromStringAndSize((const char *)payload, (Py_ssize_t)size);
    }
    message = PyUnicode_DecodeUTF8((const char *)payload, (Py_ssize_t)size, NULL);
    if (message == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
    }
    return message;
}

/* Answer a Ping (5.5.3); returns whether that was possible here. */
static int
answer_ping(LinkObject *self, const unsigned char *payload, size_t size)
{
    int done = 0;

    if (pthread_mutex_trylock(&self->lock) != 0) {
        return 0;
    }
    if (atomic_load(&self->plain) && self->tail == NULL) {
        done = link_cork(self, PONG, (const char *)payload, size);
        if (done && !corks_add(self->corks, self)) {
            /* What doesn't go out now does so before the next read. */
            link_write(self);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return done;
}

static PyObject *
rest_for_core(LinkObject *self, Batch *batch, size_t position)
{
    PyObject *rest = PyBytes_FromStringAndSize((const char *)batch->data + position,
                                               (Py_ssize_t)(batch->size - position));

    if (rest == NULL) {
        lose(self);
    }
    return rest;
}

static int
is_good(const LinkObject *self, const Choice *choice)
{
    return atomic_load(&self->corks->choice) == choice->number;
}

/* Choose what to call, unless that is known; returns -1 with an exception. */
static int
choose(const LinkObject *self, Choice *choice)
{
    uint64_t now = atomic_load(&self->heard_at);

    if (choice->function != NULL) {
        if (is_good(self, choice) && now - choice->chosen_at < CHOICE_AGE) {
            return 0;
        }
        Py_DECREF(choice->function);
    }
    choice->number = atomic_load(&self->corks->choice);
    choice->chosen_at = now;
    choice->function = PyObject_CallNoArgs(choice->choose);
    return choice->function == NULL ? -1 : 0;
}

/* Everything with the GIL: the callbacks, one for each whole message, as long as the
 * choice of the function is still good. */
static PyObject *
call_back(LinkObject *self, Batch *batch, const Choice *choice, PyObject *client)
{
    size_t position = 0;

    for (;;) {
        unsigned char *payload;
        PyObject *message, *result;
        Frame frame;
        Verdict verdict =
            look(self, batch->data + position, batch->size - position, &frame);
        size_t end, unmasked = batch->unmasked;

        if (verdict == OTHER) {
            return rest_for_core(self, batch, position);
        }
        if (verdict == PARTIAL || !is_good(self, choice)) {
            if (!keep_rest(self, batch, position)) {
                return NULL;
            }
            Py_RETURN_NONE;
        }
        payload = batch->data + position + frame.head;
        mask_from(payload + unmasked, frame.size - unmasked, frame.key, unmasked);
        batch->unmasked = batch->checked = 0;
        end = position + frame.head + frame.size;
        if (frame.first == PING) {
            if (!answer_ping(self, payload, frame.size)) {
                mask_from(payload, frame.size, frame.key, 0);
                return rest_for_core(self, batch, position);
            }
            position = end;
            continue;
        }
        message = make_message(frame.first, payload, frame.size);
        if (message == NULL && !PyErr_Occurred()) {
            mask_from(payload, frame.size, frame.key, 0);
            return rest_for_core(self, batch, position);
        }
        self->unread = batch->data + end;
        self->unread_size = batch->size - end;
        result = NULL;
        if (message != NULL) {
            link_end(self);
            result =
                PyObject_CallFunctionObjArgs(choice->function, client, message, NULL);
            Py_DECREF(message);
            link_begin(self);
        }
        position = batch->size - self->unread_size;
        self->unread_size = 0;
        if (result == NULL) {
            keep_rest(self, batch, position);
            return NULL;
        }
        Py_DECREF(result);
        if (atomic_load(&self->stop)) {
            return rest_for_core(self, batch, position);
        }
    }
}

/* One step; see link.py for what it returns. */
static PyObject *
step(LinkObject *self, Choice *choice, PyObject *client, PyObject *connection)
{
    unsigned char buffer[BUFFER_SIZE];
    Batch batch = {.data = buffer, .capacity = BUFFER_SIZE};
    Frame frame;
    PyObject *result = NULL;
    Outcome outcome;

    Py_BEGIN_ALLOW_THREADS
    outcome = wait_for_frames(self, &batch, &frame);
    gate_enter(&self->corks->gate);
    Py_END_ALLOW_THREADS
    gate_leave(&self->corks->gate);
    link_drop_spent(self);

    switch (outcome) {
    case READY:
        /* Only now: it may have changed while there was nothing to read. */
        if (choose(self, choice) < 0) {
            undo(&batch, &frame);
            keep_rest(self, &batch, 0);
            break;
        }
        if (choice->function == Py_None || atomic_load(&self->stop)) {
            undo(&batch, &frame);
            result = rest_for_core(self, &batch, 0);
            break;
        }
        if (batch.unmasked && look(self, batch.data, batch.size, &frame) != WHOLE) {
            /* Not UTF-8: the core shall say so. */
            undo(&batch, &frame);
            result = rest_for_core(self, &batch, 0);
            break;
        }
        if (corks_count(self->corks) < 0) {
            undo(&batch, &frame);
            keep_rest(self, &batch, 0);
            break;
        }
        self->connection = connection;
        atomic_store(&self->owner, link_self());
        result = call_back(self, &batch, choice, client);
        atomic_store(&self->owner, 0);
        break;
    case ENDED:
        undo(&batch, &frame);
        if (batch.size) {
            result = rest_for_core(self, &batch, 0);
        }
        else {
            Py_INCREF(Py_False);
            result = Py_False;
        }
        break;
    case BLOCKED:
        Py_INCREF(Py_True);
        result = Py_True;
        break;
    case INTERRUPTED:
        undo(&batch, &frame);
        if (keep_rest(self, &batch, 0) && PyErr_CheckSignals() == 0) {
            Py_INCREF(Py_None);
            result = Py_None;
        }
        break;
    case NO_MEMORY:
        lose(self);
        break;
    }
    free(batch.heap);
    return result;
}

/* Step once, or as long as there is no more to do than that. */
static PyObject *
take_steps(LinkObject *self, PyObject *const *args, Py_ssize_t nargs, int once)
{
    Choice choice = {0};
    PyObject *result = NULL;

    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "step() and run() take 3 arguments (%zd given)",
                     nargs);
        return NULL;
    }
    if (!self->taken) {
        PyErr_SetString(PyExc_RuntimeError, "who steps needs the read token");
        return NULL;
    }
    if (atomic_exchange(&self->stepping, 1)) {
        PyErr_SetString(PyExc_RuntimeError, "somebody else reads");
        return NULL;
    }
    self->took = 0;
    choice.choose = args[0];
    do {
        Py_XDECREF(result);
        result = step(self, &choice, args[1], args[2]);
    } while (result == Py_None && !once && !self->took);
    Py_XDECREF(choice.function);
    atomic_store(&self->stepping, 0);
    return result;
}

/* step(choose, client, connection) */
PyObject *
link_step(LinkObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return take_steps(self, args, nargs, 1);
}

/* run(choose, client, connection) */
PyObject *
link_run(LinkObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return take_steps(self, args, nargs, 0);
}
