/* Fan-out: one message for many, written without the GIL.
 *
 * Only to those for whom it's one call: plain, nothing corked, and nobody writing at
 * the moment. The connections of all others do it themselves.
 */

#include "_link.h"

#include <errno.h>
#include <sys/socket.h>

typedef enum { UNSENT, SENT, BEGUN } Fate;

static Fate
send_to(LinkObject *link, const char *data, size_t size)
{
    Fate fate = UNSENT;
    ssize_t sent;

    if (link == NULL || !atomic_load(&link->plain) ||
        pthread_mutex_trylock(&link->lock) != 0) {
        return UNSENT;
    }
    if (atomic_load(&link->plain) && link->cork_size == 0 && link->tail == NULL) {
        do {
            sent = send(link->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
        if (sent == (ssize_t)size) {
            fate = SENT;
        }
        else if (sent > 0) {
            fate = BEGUN;
            if (!link_cork_data(link, data + sent, size - (size_t)sent)) {
                /* What has begun can't be ended: nor can anything else. */
                shutdown(link->fd, SHUT_RDWR);
            }
        }
    }
    pthread_mutex_unlock(&link->lock);
    return fate;
}

/* A list of the places of those with that fate. */
static PyObject *
places(const Fate *fates, Py_ssize_t count, Fate fate)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        if (fates[i] == fate) {
            PyObject *place = PyLong_FromSsize_t(i);

            if (place == NULL || PyList_Append(list, place) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(place);
        }
    }
    return list;
}

/* send_all(links, data): see link.py. */
PyObject *
link_send_all(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *result = NULL, *unsent = NULL, *begun = NULL;
    LinkObject **links = NULL;
    Fate *fates = NULL;
    Py_ssize_t count;
    size_t size;
    char *data;

    if (nargs != 2 || !PyTuple_CheckExact(args[0]) || !PyBytes_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "send_all() takes a tuple and bytes");
        return NULL;
    }
    count = PyTuple_Size(args[0]);
    data = PyBytes_AsString(args[1]);
    size = (size_t)PyBytes_Size(args[1]);
    links = PyMem_Calloc((size_t)count, sizeof(LinkObject *));
    fates = PyMem_Calloc((size_t)count, sizeof(Fate));
    if (links == NULL || fates == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *link = PyTuple_GetItem(args[0], i);

        if (link_check(link)) {
            links[i] = (LinkObject *)link;
        }
        else if (link != Py_None) {
            PyErr_SetString(PyExc_TypeError, "each of links must be a Link or None");
            goto done;
        }
    }
    /* The tuple keeps them alive. */
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++) {
        fates[i] = send_to(links[i], data, size);
    }
    Py_END_ALLOW_THREADS
    unsent = places(fates, count, UNSENT);
    begun = places(fates, count, BEGUN);
    if (unsent != NULL && begun != NULL) {
        result = PyTuple_Pack(2, unsent, begun);
    }

done:
    Py_XDECREF(unsent);
    Py_XDECREF(begun);
    PyMem_Free(links);
    PyMem_Free(fates);
    return result;
}
