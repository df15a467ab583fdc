/* What a Python API over a mapped log costs at the least: a C extension with one call a record, or one for a list of them.
 *
 * Not an engine. One process writes, one reads; no locks, no segments, no recovery, no fsync; a record is a header of 16 bytes and its
 * bytes, CRC32C on both sides. The file is sparse: as in headwater, its pages are touched for the first time while the clock runs.
 *
 *     first page   +0 tick: futex   +64 sleepers           record   +0 length + 1 (stored last)   +4 CRC32C   +8 number   +16 bytes
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <nmmintrin.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define START 4096
#define HEADER 16

typedef struct {
    PyObject_HEAD
    uint8_t *map;
    size_t room, at;
    uint64_t number;
} Log;

static _Atomic uint32_t *word_at(Log *log, size_t at) { return (_Atomic uint32_t *)(log->map + at); }
static _Atomic uint32_t *tick(Log *log) { return word_at(log, 0); }
static _Atomic uint32_t *sleepers(Log *log) { return word_at(log, 64); }
static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

static uint32_t checksum(uint64_t state, const uint8_t *at, size_t left) {
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        state = _mm_crc32_u64(state, word);
    }
    for (; left; left--) state = _mm_crc32_u8((uint32_t)state, *at++);
    return (uint32_t)state;
}

static PyObject *log_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    const char *path;
    Py_ssize_t room;
    if (kwargs || !PyArg_ParseTuple(args, "sn", &path, &room)) return NULL;
    Log *log = (Log *)type->tp_alloc(type, 0);
    if (!log) return NULL;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, room)) goto failed;
    void *map = mmap(NULL, (size_t)room, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) goto failed;
    close(file);
    log->map = map;
    log->room = (size_t)room;
    log->at = START;
    return (PyObject *)log;
failed:
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    if (file >= 0) close(file);
    Py_DECREF(log);
    return NULL;
}

static void log_free(Log *log) {
    if (log->map) munmap(log->map, log->room);
    Py_TYPE(log)->tp_free((PyObject *)log);
}

/* Writes one record; its length makes it visible. */
static int put(Log *log, PyObject *data) {
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes expected");
        return -1;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(data), whole = HEADER + padded(size);
    if (log->at + whole + HEADER > log->room) {
        PyErr_SetString(PyExc_BufferError, "the log is full");
        return -1;
    }
    uint8_t *record = log->map + log->at;
    memcpy(record + HEADER, PyBytes_AS_STRING(data), size);
    uint32_t crc = checksum(log->number, record + HEADER, size);
    memcpy(record + 4, &crc, 4);
    memcpy(record + 8, &log->number, 8);
    atomic_store_explicit(word_at(log, log->at), (uint32_t)size + 1, memory_order_release);
    log->at += whole;
    log->number++;
    return 0;
}

/* Nobody asleep is the rule: one fence and one load. */
static void wake(Log *log) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(sleepers(log), memory_order_relaxed)) {
        atomic_fetch_add(tick(log), 1);
        syscall(SYS_futex, tick(log), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

static PyObject *log_append(Log *log, PyObject *data) {
    if (put(log, data)) return NULL;
    wake(log);
    return PyLong_FromUnsignedLongLong(log->number);
}

static PyObject *log_append_many(Log *log, PyObject *list) {
    if (!PyList_CheckExact(list)) {
        PyErr_SetString(PyExc_TypeError, "list expected");
        return NULL;
    }
    for (Py_ssize_t n = 0; n < PyList_GET_SIZE(list); n++)
        if (put(log, PyList_GET_ITEM(list, n))) return NULL;
    wake(log);
    return PyLong_FromUnsignedLongLong(log->number);
}

/* The next record as new bytes; NULL without an error where there is none yet. */
static PyObject *take(Log *log) {
    const uint8_t *record = log->map + log->at;
    size_t size = atomic_load_explicit(word_at(log, log->at), memory_order_acquire);
    if (!size--) return NULL;
    uint64_t number;
    uint32_t crc;
    memcpy(&crc, record + 4, 4);
    memcpy(&number, record + 8, 8);
    if (checksum(number, record + HEADER, size) != crc) {
        PyErr_SetString(PyExc_ValueError, "a record does not match its checksum");
        return NULL;
    }
    log->at += HEADER + padded(size);
    return PyBytes_FromStringAndSize((const char *)record + HEADER, (Py_ssize_t)size);
}

static PyObject *log_next(Log *log, PyObject *unused) {
    PyObject *data = take(log);
    if (data || PyErr_Occurred()) return data;
    Py_RETURN_NONE;
}

static PyObject *log_next_many(Log *log, PyObject *most) {
    Py_ssize_t left = PyLong_AsSsize_t(most);
    PyObject *list = PyList_New(0), *data;
    while (list && left-- > 0 && (data = take(log))) {
        int bad = PyList_Append(list, data);
        Py_DECREF(data);
        if (bad) Py_CLEAR(list);
    }
    if (PyErr_Occurred()) Py_CLEAR(list);
    return list;
}

/* Sleeps until there is a record, or for 200 ms, with the GIL let go. */
static PyObject *log_wait(Log *log, PyObject *unused) {
    const struct timespec most = {0, 200 * 1000 * 1000};
    Py_BEGIN_ALLOW_THREADS
    uint32_t seen = atomic_load(tick(log));
    atomic_fetch_add(sleepers(log), 1);
    if (!atomic_load(word_at(log, log->at))) syscall(SYS_futex, tick(log), FUTEX_WAIT, seen, &most, NULL, 0);
    atomic_fetch_sub(sleepers(log), 1);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Awaiting: what is done at once needs no coroutine; a log is its own asynchronous iterator, which gives the loop a turn while there is
 * nothing. The interpreter uses am_send; tp_iternext only makes them iterators. */
static PyObject *itself(PyObject *object) { return Py_NewRef(object); }
static PyObject *no_next(PyObject *object) { return NULL; }
static PySendResult send_done(PyObject *object, PyObject *value, PyObject **out) {
    *out = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}
static PySendResult send_next(PyObject *object, PyObject *value, PyObject **out) {
    *out = take((Log *)object);
    if (*out) return PYGEN_RETURN;
    if (PyErr_Occurred()) return PYGEN_ERROR;
    *out = Py_NewRef(Py_None);
    return PYGEN_NEXT;
}

static PyAsyncMethods done_async = {.am_await = itself, .am_send = send_done};
static PyTypeObject DoneType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "limit.Done",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_as_async = &done_async,
    .tp_iter = itself,
    .tp_iternext = no_next,
};
static PyObject *done;

static PyObject *log_aappend(Log *log, PyObject *data) {
    if (put(log, data)) return NULL;
    wake(log);
    return Py_NewRef(done);
}

static PyAsyncMethods log_async = {.am_await = itself, .am_aiter = itself, .am_anext = itself, .am_send = send_next};
static PyMethodDef log_methods[] = {
    {"append", (PyCFunction)log_append, METH_O, NULL},
    {"aappend", (PyCFunction)log_aappend, METH_O, NULL},
    {"append_many", (PyCFunction)log_append_many, METH_O, NULL},
    {"next", (PyCFunction)log_next, METH_NOARGS, NULL},
    {"next_many", (PyCFunction)log_next_many, METH_O, NULL},
    {"wait", (PyCFunction)log_wait, METH_NOARGS, NULL},
    {NULL},
};
static PyTypeObject LogType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "limit.Log",
    .tp_basicsize = sizeof(Log),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = log_new,
    .tp_dealloc = (destructor)log_free,
    .tp_methods = log_methods,
    .tp_as_async = &log_async,
    .tp_iter = itself,
    .tp_iternext = no_next,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "limit", .m_size = -1};

PyMODINIT_FUNC PyInit_limit(void) {
    PyObject *made = PyModule_Create(&module);
    if (!made || PyType_Ready(&DoneType) < 0 || PyModule_AddType(made, &LogType) < 0) return NULL;
    done = PyType_GenericNew(&DoneType, NULL, NULL);
    return done ? made : NULL;
}
