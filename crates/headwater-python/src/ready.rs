//! `Ready`: a coroutine that is done, with a value or an error. A raw type, because the interpreter's fast way to await, the slot
//! `am_send`, needs neither a coroutine's frame nor an exception (75 ns), and PyO3 has no name for it.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyNone, PyType};

#[repr(C)]
struct ReadyObject {
    base: ffi::PyObject,
    value: *mut ffi::PyObject,
    /// The value is an exception, which awaiting raises.
    failed: bool,
}

static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The type `Ready`, made at the first use.
pub fn ready_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    TYPE.get_or_try_init(py, || unsafe { make(py) })
        .map(|t| t.bind(py))
}

/// `Ready(value)`.
#[inline]
pub fn ready<'py>(py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    done(py, value, false)
}

/// What raises `error` when it is awaited: an asynchronous method fails there, not where it is called.
#[cold]
pub fn failed(py: Python<'_>, error: PyErr) -> PyResult<Bound<'_, PyAny>> {
    done(py, error.into_value(py).into_bound(py).into_any(), true)
}

/// A coroutine that raises `error`.
#[pyfunction(name = "failed")]
#[pyo3(signature = (error, /))]
pub fn failed_with<'py>(error: &Bound<'py, PyBaseException>) -> PyResult<Bound<'py, PyAny>> {
    done(error.py(), error.clone().into_any(), true)
}

#[inline]
fn done<'py>(
    py: Python<'py>,
    value: Bound<'py, PyAny>,
    failed: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = ready_type(py)?.as_type_ptr();
    unsafe {
        let object = ffi::PyObject_New::<ReadyObject>(kind);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (*object).value = value.into_ptr();
        (*object).failed = failed;
        Ok(Bound::from_owned_ptr(py, object.cast()))
    }
}

/// `Ready(None)`, one object for all.
pub fn ready_none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    NONE.get_or_try_init(py, || {
        ready(py, PyNone::get(py).to_owned().into_any()).map(Bound::unbind)
    })
    .map(|o| o.bind(py).clone())
}

/// What `awaitable` comes to when it never suspends; a Ready costs a type test.
#[pyfunction]
#[pyo3(signature = (awaitable, /))]
pub fn drive<'py>(py: Python<'py>, awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    unsafe {
        let kind = ready_type(py)?.as_type_ptr();
        if ffi::Py_TYPE(awaitable.as_ptr()) == kind {
            return outcome(awaitable.as_ptr())
                .map(|value| Bound::from_owned_ptr(py, value))
                .ok_or_else(|| PyErr::fetch(py));
        }
        let coroutine: bool = ffi::PyIter_Check(awaitable.as_ptr()) != 0;
        let iterator = if coroutine || awaitable.hasattr("send")? {
            awaitable.clone()
        } else {
            awaitable.call_method0("__await__")?
        };
        let mut out = ptr::null_mut();
        match ffi::PyIter_Send(iterator.as_ptr(), ffi::Py_None(), &mut out) {
            ffi::PySendResult::PYGEN_RETURN => Ok(Bound::from_owned_ptr(py, out)),
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
            ffi::PySendResult::PYGEN_NEXT => {
                drop(Bound::from_owned_ptr(py, out));
                let _ = iterator.call_method0("close");
                Err(PyRuntimeError::new_err(
                    "an operation of a synchronous connection tried to wait in an event loop",
                ))
            }
        }
    }
}

unsafe extern "C" fn dealloc(this: *mut ffi::PyObject) {
    let kind = ffi::Py_TYPE(this);
    ffi::Py_XDECREF((*this.cast::<ReadyObject>()).value);
    ffi::PyObject_Free(this.cast());
    ffi::Py_DECREF(kind.cast());
}

unsafe extern "C" fn same(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ffi::Py_NewRef(this)
}

/// A new reference to the value; None, with the exception set, where it failed.
#[inline]
unsafe fn outcome(this: *mut ffi::PyObject) -> Option<*mut ffi::PyObject> {
    let this = this.cast::<ReadyObject>();
    let value = (*this).value;
    if (*this).failed {
        ffi::PyErr_SetObject(ffi::Py_TYPE(value).cast(), value);
        return None;
    }
    Some(ffi::Py_NewRef(value))
}

unsafe extern "C" fn send(
    this: *mut ffi::PyObject,
    _arg: *mut ffi::PyObject,
    out: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    match outcome(this) {
        Some(value) => {
            *out = value;
            ffi::PySendResult::PYGEN_RETURN
        }
        None => {
            *out = ptr::null_mut();
            ffi::PySendResult::PYGEN_ERROR
        }
    }
}

/// The slow way, for who iterates `__await__()` by hand (and for `await` since 3.12): StopIteration with the value.
unsafe extern "C" fn next(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let Some(value) = outcome(this) else {
        return ptr::null_mut();
    };
    let stop = ffi::PyObject_CallFunctionObjArgs(
        ffi::PyExc_StopIteration,
        value,
        ptr::null_mut::<ffi::PyObject>(),
    );
    ffi::Py_DECREF(value);
    if !stop.is_null() {
        ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
        ffi::Py_DECREF(stop);
    }
    ptr::null_mut()
}

unsafe extern "C" fn new(
    kind: *mut ffi::PyTypeObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if !kwargs.is_null() && ffi::PyDict_Size(kwargs) != 0 || ffi::PyTuple_Size(args) > 1 {
        ffi::PyErr_SetString(ffi::PyExc_TypeError, c"Ready takes one value".as_ptr());
        return ptr::null_mut();
    }
    let value = if ffi::PyTuple_Size(args) == 1 {
        ffi::PyTuple_GetItem(args, 0)
    } else {
        ffi::Py_None()
    };
    let object = ffi::PyObject_New::<ReadyObject>(kind);
    if !object.is_null() {
        (*object).value = ffi::Py_NewRef(value);
        (*object).failed = false;
    }
    object.cast()
}

unsafe extern "C" fn result(
    this: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    outcome(this).unwrap_or(ptr::null_mut())
}

unsafe extern "C" fn send_method(
    this: *mut ffi::PyObject,
    _arg: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    next(this)
}

/// A task that is cancelled before its first step throws here; what was done stays done.
unsafe extern "C" fn throw_method(
    _this: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if ffi::PyTuple_Size(args) < 1 {
        ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw takes an exception".as_ptr());
        return ptr::null_mut();
    }
    let first = ffi::PyTuple_GetItem(args, 0);
    if ffi::PyExceptionInstance_Check(first) != 0 {
        ffi::PyErr_SetObject(ffi::Py_TYPE(first).cast(), first);
    } else if ffi::PyExceptionClass_Check(first) != 0 {
        ffi::PyErr_SetObject(first, ptr::null_mut());
    } else {
        ffi::PyErr_SetString(ffi::PyExc_TypeError, c"throw takes an exception".as_ptr());
    }
    ptr::null_mut()
}

unsafe extern "C" fn close_method(
    _this: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    ffi::Py_NewRef(ffi::Py_None())
}

struct Table<T>(T);
// Written once below, read by the interpreter under the GIL.
unsafe impl<T> Sync for Table<T> {}

static METHODS: Table<[ffi::PyMethodDef; 6]> = Table([
    ffi::PyMethodDef {
        ml_name: c"result".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: result,
        },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"The value.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"send".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: send_method,
        },
        ml_flags: ffi::METH_O,
        ml_doc: c"Raises StopIteration with the value.".as_ptr(),
    },
    // With these two it is what collections.abc calls a Coroutine: `create_task` takes it.
    ffi::PyMethodDef {
        ml_name: c"throw".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: throw_method,
        },
        ml_flags: ffi::METH_VARARGS,
        ml_doc: c"Raises the exception given.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"close".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: close_method,
        },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"Does nothing: it is done.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: ffi::Py_GenericAlias,
        },
        ml_flags: ffi::METH_O | ffi::METH_CLASS,
        ml_doc: ptr::null(),
    },
    ffi::PyMethodDef::zeroed(),
]);

unsafe fn make(py: Python<'_>) -> PyResult<Py<PyType>> {
    fn slot(number: c_int, at: *mut c_void) -> ffi::PyType_Slot {
        ffi::PyType_Slot {
            slot: number,
            pfunc: at,
        }
    }
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_iter, same as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_am_await, same as *mut c_void),
        slot(ffi::Py_am_send, send as *mut c_void),
        slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast_mut().cast()),
        slot(
            ffi::Py_tp_doc,
            c"A coroutine that is done.".as_ptr().cast_mut().cast(),
        ),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"headwater._engine.Ready".as_ptr(),
        basicsize: size_of::<ReadyObject>() as c_int,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec))
        .and_then(|t| Ok(t.cast_into::<PyType>()?.unbind()))
}
