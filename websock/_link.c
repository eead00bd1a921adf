/* Link: the writing half of a connection's short cut, and its lock.
 *
 * Frames that a callback sends to its own client are corked here and leave in one
 * stretch without the GIL, with the next read (_step.c). Whatever else is written
 * takes what is corked first, so that the order of messages is that of the calls.
 */

#include "_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    CORK_LIMIT = 262144, /* bytes that may wait for the end of a batch */
    TAIL_FROM = 8192,   /* payloads from here on are written where they are */
    HEAD_SIZE = 10,      /* longest header of a frame that isn't masked (5.2) */
};

static void link_dealloc(LinkObject *self);

int
link_check(PyObject *object)
{
    /* The type can't be subclassed or changed. */
    return PyType_GetSlot(Py_TYPE(object), Py_tp_dealloc) == (void *)link_dealloc;
}

uintptr_t
link_self(void)
{
    return (uintptr_t)pthread_self();
}

static int
try_to_begin(LinkObject *self)
{
    if (pthread_mutex_trylock(&self->token) != 0) {
        return 0;
    }
    self->taken = 1;
    return 1;
}

void
link_begin(LinkObject *self)
{
    if (try_to_begin(self)) {
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&self->token);
    Py_END_ALLOW_THREADS
    self->taken = 1;
}

void
link_end(LinkObject *self)
{
    self->taken = 0;
    pthread_mutex_unlock(&self->token);
}

void
link_drop_spent(LinkObject *self)
{
    PyObject *spent = self->spent;

    self->spent = NULL;
    Py_XDECREF(spent);
}

static size_t
write_head(unsigned char *to, int first, size_t size)
{
    to[0] = (unsigned char)first;
    if (size < 126) {
        to[1] = (unsigned char)size;
        return 2;
    }
    if (size < 65536) {
        to[1] = 126;
        to[2] = (unsigned char)(size >> 8);
        to[3] = (unsigned char)size;
        return 4;
    }
    to[1] = 127;
    for (int i = 0; i < 8; i++) {
        to[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
    }
    return 10;
}

static int
reserve(LinkObject *self, size_t more)
{
    size_t capacity = self->cork_capacity;
    unsigned char *cork;

    if (capacity - self->cork_size >= more) {
        return 1;
    }
    capacity = capacity ? capacity : 256;
    while (capacity - self->cork_size < more) {
        capacity *= 2;
    }
    cork = realloc(self->cork, capacity);
    if (cork == NULL) {
        return 0;
    }
    self->cork = cork;
    self->cork_capacity = capacity;
    return 1;
}

int
link_cork(LinkObject *self, int first, const char *payload, size_t size)
{
    if (!reserve(self, HEAD_SIZE + size)) {
        return 0;
    }
    self->cork_size += write_head(self->cork + self->cork_size, first, size);
    memcpy(self->cork + self->cork_size, payload, size);
    self->cork_size += size;
    return 1;
}

int
link_cork_data(LinkObject *self, const char *data, size_t size)
{
    if (!reserve(self, size)) {
        return 0;
    }
    memcpy(self->cork + self->cork_size, data, size);
    self->cork_size += size;
    return 1;
}

static void
forget(LinkObject *self)
{
    free(self->cork);
    self->cork = NULL;
    self->cork_start = self->cork_size = self->cork_capacity = 0;
    self->tail_data = NULL;
    self->tail_size = 0;
    corks_remove(self->corks, self);
}

int
link_write(LinkObject *self)
{
    struct iovec pieces[2] = {
        {self->cork + self->cork_start, self->cork_size - self->cork_start},
        {(void *)self->tail_data, self->tail_size},
    };
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    size_t sent, head = pieces[0].iov_len;
    ssize_t result;

    if (head + self->tail_size == 0) {
        return 1;
    }
    do {
        result = sendmsg(self->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return 0;
    }
    sent = (size_t)result;
    if (sent == head + self->tail_size) {
        self->spent = self->tail;
        self->tail = NULL;
        forget(self);
        return 1;
    }
    if (sent < head) {
        self->cork_start += sent;
    }
    else {
        self->cork_start = self->cork_size;
        self->tail_data += sent - head;
        self->tail_size -= sent - head;
    }
    return 0;
}

/* The frame for what send() got, as far as this short cut goes. */
static int
get_payload(PyObject *data, int *first, const char **payload, size_t *size)
{
    Py_ssize_t length;

    /* Not subclasses: what is corked may be dropped with the lock held, which must
     * run nobody's code. */
    if (PyUnicode_CheckExact(data)) {
        *first = 0x81;
        *payload = PyUnicode_AsUTF8AndSize(data, &length);
        if (*payload == NULL) {
            /* Surrogates, or no memory: the long way has the words for it. */
            PyErr_Clear();
            return 0;
        }
    }
    else if (PyBytes_CheckExact(data)) {
        *first = 0x82;
        *payload = PyBytes_AsString(data);
        length = PyBytes_Size(data);
    }
    else {
        return 0;
    }
    *size = (size_t)length;
    return 1;
}

static PyObject *
link_send(LinkObject *self, PyObject *data)
{
    PyObject *result = Py_False, *spent = NULL;
    const char *payload;
    size_t size;
    int first, large;

    if (!atomic_load(&self->plain) || atomic_load(&self->owner) != link_self() ||
        !get_payload(data, &first, &payload, &size)) {
        Py_RETURN_FALSE;
    }
    large = size >= TAIL_FROM;
    if (pthread_mutex_trylock(&self->lock) != 0) {
        Py_RETURN_FALSE;
    }
    if (!atomic_load(&self->plain)) {
        goto done;
    }
    if (self->tail != NULL || self->cork_size + (large ? 0 : size) > CORK_LIMIT) {
        if (!link_write(self)) {
            goto done;
        }
        spent = self->spent;
        self->spent = NULL;
    }
    if (large) {
        if (!reserve(self, HEAD_SIZE)) {
            goto done;
        }
        self->cork_size += write_head(self->cork + self->cork_size, first, size);
        Py_INCREF(data);
        self->tail = data;
        self->tail_data = payload;
        self->tail_size = size;
    }
    else if (!link_cork(self, first, payload, size)) {
        goto done;
    }
    result = Py_True;
    if (!corks_add(self->corks, self) && !link_write(self)) {
        result = Py_None;
    }

done:
    pthread_mutex_unlock(&self->lock);
    Py_XDECREF(spent);
    link_drop_spent(self);
    Py_INCREF(result);
    return result;
}

static PyObject *
link_take(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    size_t head = self->cork_size - self->cork_start;
    PyObject *taken, *tail;
    char *to;

    if (head + self->tail_size == 0) {
        Py_RETURN_NONE;
    }
    taken = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(head + self->tail_size));
    if (taken == NULL) {
        /* Nothing is lost: it stays corked. */
        return NULL;
    }
    to = PyBytes_AsString(taken);
    if (head) {
        memcpy(to, self->cork + self->cork_start, head);
    }
    if (self->tail_size) {
        memcpy(to + head, self->tail_data, self->tail_size);
    }
    tail = self->tail;
    self->tail = NULL;
    forget(self);
    Py_XDECREF(tail);
    return taken;
}

static PyObject *
link_drop(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *tail = self->tail;

    self->tail = NULL;
    forget(self);
    Py_XDECREF(tail);
    Py_RETURN_NONE;
}

static PyObject *
link_take_unread(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *taken;

    self->took = 1;
    if (self->rest_size) {
        taken = PyBytes_FromStringAndSize((const char *)self->rest,
                                          (Py_ssize_t)self->rest_size);
        if (taken == NULL) {
            return NULL;
        }
        free(self->rest);
        self->rest = NULL;
        self->rest_size = 0;
    }
    else {
        taken = PyBytes_FromStringAndSize((const char *)self->unread,
                                          (Py_ssize_t)self->unread_size);
        if (taken == NULL) {
            return NULL;
        }
        self->unread_size = 0;
    }
    return taken;
}

/* The read token. */

static PyObject *
link_begin_reading(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    link_begin(self);
    Py_RETURN_NONE;
}

static PyObject *
link_try_reading(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(try_to_begin(self));
}

static PyObject *
link_end_reading(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    link_end(self);
    Py_RETURN_NONE;
}

/* The lock, with the interface of threading.Lock as far as it's used. */

static PyObject *
link_acquire(LinkObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    int wait = 1;

    if (nargs > 1) {
        PyErr_SetString(PyExc_TypeError, "acquire() takes at most 1 argument");
        return NULL;
    }
    if (nargs == 1) {
        wait = PyObject_IsTrue(args[0]);
        if (wait < 0) {
            return NULL;
        }
    }
    if (pthread_mutex_trylock(&self->lock) == 0) {
        Py_RETURN_TRUE;
    }
    if (!wait) {
        Py_RETURN_FALSE;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&self->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_TRUE;
}

static PyObject *
link_enter(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    return link_acquire(self, NULL, 0);
}

static PyObject *
link_release(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_NONE;
}

static PyObject *
link_exit(LinkObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n))
{
    return link_release(self, NULL);
}

static PyObject *
link_locked(LinkObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pthread_mutex_trylock(&self->lock) != 0) {
        Py_RETURN_TRUE;
    }
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_FALSE;
}

/* Attributes. */

static PyObject *
get_flag(LinkObject *self, void *offset)
{
    return PyBool_FromLong(
        atomic_load((atomic_int *)((char *)self + (uintptr_t)offset)));
}

static int
set_flag(LinkObject *self, PyObject *value, void *offset)
{
    int flag = value == NULL ? 0 : PyObject_IsTrue(value);

    if (flag < 0) {
        return -1;
    }
    atomic_store((atomic_int *)((char *)self + (uintptr_t)offset), flag);
    return 0;
}

static PyObject *
get_corked(LinkObject *self, void *Py_UNUSED(closure))
{
    int corked = 1; /* if somebody has the lock, he may be about to cork or to take */

    if (pthread_mutex_trylock(&self->lock) == 0) {
        corked = self->cork_size || self->tail_size;
        pthread_mutex_unlock(&self->lock);
    }
    return PyBool_FromLong(corked);
}

static PyObject *
get_heard_at(LinkObject *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)atomic_load(&self->heard_at) * 1e-9);
}

static PyObject *
link_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"fd", "corks", "max_size", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    unsigned long long max_size = UINT64_MAX;
    PyObject *corks, *limit;
    LinkObject *self;
    int fd;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "iOO:Link", names, &fd, &corks,
                                     &limit)) {
        return NULL;
    }
    if (limit != Py_None) {
        max_size = PyLong_AsUnsignedLongLong(limit);
        if (max_size == (unsigned long long)-1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (!corks_check(corks)) {
        PyErr_SetString(PyExc_TypeError, "corks must be a Corks");
        return NULL;
    }
    self = (LinkObject *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    pthread_mutex_init(&self->lock, NULL);
    pthread_mutex_init(&self->token, NULL);
    Py_INCREF(corks);
    self->corks = (CorksObject *)corks;
    self->fd = fd;
    self->max_size = max_size;
    return (PyObject *)self;
}

static int
link_traverse(LinkObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->corks);
    return 0;
}

static void
link_dealloc(LinkObject *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(self);
    forget(self);
    free(self->rest);
    Py_XDECREF(self->tail);
    Py_XDECREF(self->spent);
    Py_DECREF(self->corks);
    pthread_mutex_destroy(&self->lock);
    pthread_mutex_destroy(&self->token);
    release(self);
    Py_DECREF(type);
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef methods[] = {
    {"step", FASTCALL(link_step),
     PyDoc_STR("Write what is corked, read, and call back for each message.")},
    {"run", FASTCALL(link_run),
     PyDoc_STR("Step, as long as there is no more to do than that.")},
    {"send", (PyCFunction)link_send, METH_O,
     PyDoc_STR("Send a message the short way, if that is possible.")},
    {"take", (PyCFunction)link_take, METH_NOARGS,
     PyDoc_STR("Take what is corked; with the lock held.")},
    {"drop", (PyCFunction)link_drop, METH_NOARGS,
     PyDoc_STR("Drop what is corked; with the lock held.")},
    {"take_unread", (PyCFunction)link_take_unread, METH_NOARGS,
     PyDoc_STR("Take the frames behind the one whose callback runs.")},
    {"begin_reading", (PyCFunction)link_begin_reading, METH_NOARGS,
     PyDoc_STR("Get the read token; waits for it.")},
    {"try_reading", (PyCFunction)link_try_reading, METH_NOARGS,
     PyDoc_STR("Get the read token if nobody has it; return whether that was so.")},
    {"end_reading", (PyCFunction)link_end_reading, METH_NOARGS,
     PyDoc_STR("Give the read token back.")},
    {"acquire", FASTCALL(link_acquire), PyDoc_STR("Acquire the lock.")},
    {"release", (PyCFunction)link_release, METH_NOARGS, PyDoc_STR("Release the lock.")},
    {"locked", (PyCFunction)link_locked, METH_NOARGS,
     PyDoc_STR("Whether the lock is held.")},
    {"__enter__", (PyCFunction)link_enter, METH_NOARGS, NULL},
    {"__exit__", FASTCALL(link_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"plain", (getter)get_flag, (setter)set_flag,
     PyDoc_STR("Whether send() may write; set with the lock held."),
     (void *)offsetof(LinkObject, plain)},
    {"stop", (getter)get_flag, (setter)set_flag,
     PyDoc_STR("Whether step() returns after the callback that runs."),
     (void *)offsetof(LinkObject, stop)},
    {"corked", (getter)get_corked, NULL,
     PyDoc_STR("Whether something waits for the next step; for the reader."), NULL},
    {"heard_at", (getter)get_heard_at, NULL,
     PyDoc_STR("When step() last got a frame, on the monotonic clock."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Short cut of one connection; link.py.")},
    {Py_tp_new, link_new},
    {Py_tp_traverse, link_traverse},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

PyType_Spec link_spec = {
    .name = "websock._link.Link",
    .basicsize = sizeof(LinkObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* The module. */

static int
execute(PyObject *module)
{
    PyType_Spec *specs[] = {&corks_spec, &link_spec};
    const char *names[] = {"Corks", "Link"};

    for (int i = 0; i < 2; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);

        if (type == NULL) {
            return -1;
        }
        if (PyModule_AddObjectRef(module, names[i], type) < 0) {
            Py_DECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyMethodDef functions[] = {
    {"send_all", FASTCALL(link_send_all),
     PyDoc_STR("Send a frame to those that take it the short way.")},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "websock._link",
    .m_doc = PyDoc_STR("The accelerator of a connection; see link.py."),
    .m_size = 0,
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__link(void)
{
    return PyModuleDef_Init(&definition);
}
