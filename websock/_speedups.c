/* C twins of the functions in _masking.py: same names, arguments, results and
 * errors. See there for what they do.
 *
 * Layer: core. Imported by _masking.py alone.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "_payload.h"

/* The GIL is kept: masking 1 MiB takes less time than getting the GIL back from
 * one busy thread, which may be its switch interval of 5 ms. */
static PyObject *
apply_mask(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *masked = NULL;
    Py_buffer data = {0}, masking_key = {0};
    unsigned char key[4];
    unsigned long offset = 0;

    (void)module;
    if (nargs < 2 || nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     "apply_mask() takes 2 or 3 arguments (%zd given)", nargs);
        goto done;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        goto done;
    }
    if (PyObject_GetBuffer(args[1], &masking_key, PyBUF_SIMPLE) < 0) {
        goto done;
    }
    if (masking_key.len != 4) {
        PyErr_Format(PyExc_ValueError, "masking key must be 4 bytes, not %zd",
                     masking_key.len);
        goto done;
    }
    if (nargs == 3) {
        /* Any integer will do, because 4 divides the power of two that it wraps
         * at. */
        offset = PyLong_AsUnsignedLongMask(args[2]);
        if (offset == (unsigned long)-1 && PyErr_Occurred()) {
            goto done;
        }
    }
    for (size_t i = 0; i < 4; i++) {
        key[i] = ((const unsigned char *)masking_key.buf)[(i + offset) & 3];
    }
    masked = PyBytes_FromStringAndSize(NULL, data.len);
    if (masked == NULL) {
        goto done;
    }
    mask_bytes((unsigned char *)PyBytes_AsString(masked), data.buf, (size_t)data.len,
               key);

done:
    PyBuffer_Release(&data);
    PyBuffer_Release(&masking_key);
    return masked; /* NULL with an exception set, or a new reference */
}

/* Raise what Python's decoder raises for text, which has its first fault in the
 * character at start. */
static void
raise_invalid(const unsigned char *text, size_t size, size_t start)
{
    PyObject *ignored, *error;
    Py_ssize_t consumed;

    ignored = PyUnicode_DecodeUTF8Stateful((const char *)text, (Py_ssize_t)size,
                                           "strict", &consumed);
    if (ignored == NULL) {
        return;
    }
    /* A surrogate cut off before its third byte, which the decoder waits for. */
    Py_DECREF(ignored);
    error = PyUnicodeDecodeError_Create("utf-8", (const char *)text, (Py_ssize_t)size,
                                        (Py_ssize_t)start, (Py_ssize_t)start + 1,
                                        "invalid continuation byte");
    if (error != NULL) {
        PyErr_SetObject(PyExc_UnicodeDecodeError, error);
        Py_DECREF(error);
    }
}

static PyObject *
check_utf8(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *tail = NULL;
    Py_buffer data = {0}, pending = {0};
    unsigned char seam[3 + 3];
    const unsigned char *text;
    unsigned char *joined = NULL;
    size_t size, before, start, end;
    int valid;

    (void)module;
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "check_utf8() takes 1 or 2 arguments (%zd given)", nargs);
        goto done;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        goto done;
    }
    if (nargs == 2 && PyObject_GetBuffer(args[1], &pending, PyBUF_SIMPLE) < 0) {
        goto done;
    }
    if (pending.len > 3) {
        PyErr_Format(PyExc_ValueError, "pending must be at most 3 bytes, not %zd",
                     pending.len);
        goto done;
    }
    /* An empty buffer may be NULL, which memcpy() may not get. */
    text = data.len ? data.buf : (const void *)"";
    size = (size_t)data.len;
    before = (size_t)pending.len;
    start = 0;
    valid = 1;
    if (before) {
        /* A character that begins in pending ends within three bytes of data. */
        end = size < 3 ? size : 3;
        memcpy(seam, pending.buf, before);
        memcpy(seam + before, text, end);
        start = scan_utf8(seam, before + end, &valid);
        if (valid && start < before) {
            tail = PyBytes_FromStringAndSize((const char *)seam + start,
                                             (Py_ssize_t)(before + end - start));
            goto done;
        }
        /* From here on, start counts from the begin of data; if that makes it
         * negative, it is only used after before is added again. */
        start -= before;
    }
    if (valid) {
        start += scan_utf8(text + start, size - start, &valid);
    }
    if (valid) {
        tail = PyBytes_FromStringAndSize((const char *)text + start,
                                         (Py_ssize_t)(size - start));
        goto done;
    }
    if (before) {
        joined = PyMem_Malloc(before + size);
        if (joined == NULL) {
            PyErr_NoMemory();
            goto done;
        }
        memcpy(joined, pending.buf, before);
        memcpy(joined + before, text, size);
        text = joined;
    }
    raise_invalid(text, before + size, before + start);

done:
    PyMem_Free(joined);
    PyBuffer_Release(&data);
    PyBuffer_Release(&pending);
    return tail; /* NULL with an exception set, or a new reference */
}

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL,
     PyDoc_STR("Mask or unmask a piece of a payload; see _masking.py.")},
    {"check_utf8", (PyCFunction)(void (*)(void))check_utf8, METH_FASTCALL,
     PyDoc_STR("Validate the next piece of a text; see _masking.py.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "websock._speedups",
    .m_doc = PyDoc_STR("C twins of the functions in _masking.py."),
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
