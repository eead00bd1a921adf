/* Corks: which connections hold something back, and whether that pays at all.
 *
 * A callback's messages to its own client leave together, when the batch of frames
 * that one read brought is done. That saves system calls and, above all, hand-overs
 * of the GIL; but a callback that sends and then waits must not hold its message
 * back for long. So the main thread looks every few milliseconds for what has been
 * corked too long. It does so only while there is enough traffic for corking to
 * pay: otherwise messages leave at once, and the main thread sleeps.
 */

#include "_link.h"

#include <time.h>

enum {
    CHECK_EVERY = 16, /* steps; a power of two */
    QUIET_STEPS = 4,  /* fewer steps between two ticks are quiet ... */
    QUIET_TICKS = 25, /* ... and so many quiet ticks in a row end the corking */
    MOST_STALE = 256, /* links that one tick returns */
};

/* CHECK_EVERY steps in less than that make corking pay: 2,000 a second. */
static const uint64_t BUSY = UINT64_C(8000000);
/* What has been corked for longer than that is stale. */
static const uint64_t STALE = UINT64_C(1000000);

static void corks_dealloc(CorksObject *self);

int
corks_check(PyObject *object)
{
    /* Neither type can be subclassed or changed. */
    return PyType_GetSlot(Py_TYPE(object), Py_tp_dealloc) == (void *)corks_dealloc;
}

uint64_t
corks_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int
corks_count(CorksObject *corks)
{
    unsigned long steps = atomic_fetch_add(&corks->steps, 1) + 1;
    PyObject *result;
    uint64_t now, before;

    if (steps % CHECK_EVERY != 0 || atomic_load(&corks->corking)) {
        return 0;
    }
    now = corks_now();
    before = atomic_exchange(&corks->checked_at, now);
    if (now - before >= BUSY || atomic_exchange(&corks->corking, 1)) {
        return 0;
    }
    result = PyObject_CallNoArgs(corks->on_busy);
    if (result == NULL) {
        atomic_store(&corks->corking, 0);
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

int
corks_add(CorksObject *corks, LinkObject *link)
{
    int corking;

    if (link->listed) {
        /* Corking doesn't end while somebody is on the list. */
        return 1;
    }
    pthread_mutex_lock(&corks->lock);
    corking = atomic_load(&corks->corking);
    if (corking) {
        link->listed = 1;
        link->corked_at = corks_now();
        link->after = NULL;
        link->before = corks->last;
        if (corks->last != NULL) {
            corks->last->after = link;
        }
        else {
            corks->first = link;
        }
        corks->last = link;
    }
    pthread_mutex_unlock(&corks->lock);
    return corking;
}

void
corks_remove(CorksObject *corks, LinkObject *link)
{
    if (!link->listed) {
        /* Nor does a child, whose parent held the other lock when it forked, hang. */
        return;
    }
    pthread_mutex_lock(&corks->lock);
    link->listed = 0;
    if (link->before != NULL) {
        link->before->after = link->after;
    }
    else {
        corks->first = link->after;
    }
    if (link->after != NULL) {
        link->after->before = link->before;
    }
    else {
        corks->last = link->before;
    }
    link->before = link->after = NULL;
    pthread_mutex_unlock(&corks->lock);
}

static PyObject *
corks_tick(CorksObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *stale[MOST_STALE], *result;
    unsigned long steps = atomic_load(&self->steps);
    size_t count = 0;
    uint64_t until;
    int over = 0;

    self->quiet = steps - self->steps_before < QUIET_STEPS ? self->quiet + 1 : 0;
    self->steps_before = steps;
    pthread_mutex_lock(&self->lock);
    until = corks_now() - STALE;
    if (self->quiet >= QUIET_TICKS && self->first == NULL) {
        /* Under the lock: whoever adds itself afterwards is told. */
        self->quiet = 0;
        atomic_store(&self->corking, 0);
        over = 1;
    }
    for (LinkObject *link = self->first; link != NULL && count < MOST_STALE;
         link = link->after) {
        if (link->corked_at > until) {
            break;
        }
        Py_INCREF(link->connection);
        stale[count++] = link->connection;
    }
    pthread_mutex_unlock(&self->lock);

    if (over) {
        /* Not to be asked for later: by then somebody may have called on_busy. */
        Py_RETURN_NONE;
    }
    result = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count; i++) {
        if (result == NULL) {
            Py_DECREF(stale[i]);
        }
        else {
            PyList_SetItem(result, (Py_ssize_t)i, stale[i]);
        }
    }
    return result;
}

static PyObject *
corks_renew(CorksObject *self, PyObject *Py_UNUSED(ignored))
{
    atomic_fetch_add(&self->choice, 1);
    Py_RETURN_NONE;
}

static PyObject *
corks_is_corking(CorksObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&self->corking));
}

static PyObject *
corks_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"on_busy", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    CorksObject *self;
    PyObject *on_busy;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:Corks", names, &on_busy)) {
        return NULL;
    }
    self = (CorksObject *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    pthread_mutex_init(&self->lock, NULL);
    Py_INCREF(on_busy);
    self->on_busy = on_busy;
    return (PyObject *)self;
}

static int
corks_traverse(CorksObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->on_busy);
    return 0;
}

static int
corks_clear(CorksObject *self)
{
    Py_CLEAR(self->on_busy);
    return 0;
}

static void
corks_dealloc(CorksObject *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(self);
    corks_clear(self);
    pthread_mutex_destroy(&self->lock);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"tick", (PyCFunction)corks_tick, METH_NOARGS,
     PyDoc_STR("Return the connections that have held back for too long; None if "
               "nobody holds back any more.")},
    {"renew", (PyCFunction)corks_renew, METH_NOARGS,
     PyDoc_STR("Let all links choose anew what they call.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"corking", (getter)corks_is_corking, NULL,
     PyDoc_STR("Whether messages are held back, so that tick() must be called."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Connections that hold something back; link.py.")},
    {Py_tp_new, corks_new},
    {Py_tp_traverse, corks_traverse},
    {Py_tp_clear, corks_clear},
    {Py_tp_dealloc, corks_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

PyType_Spec corks_spec = {
    .name = "websock._link.Corks",
    .basicsize = sizeof(CorksObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
