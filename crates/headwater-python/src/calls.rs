//! Small helpers round the C API.

use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// `function(argument)`. The stable ABI of 3.11 has no vectorcall; this is its one call without a tuple.
#[inline]
pub fn call_one<'py>(
    function: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(
            function.as_ptr(),
            argument.as_ptr(),
            ptr::null_mut::<ffi::PyObject>(),
        );
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// A new object, taken out of the garbage collector's lists. PyO3 puts every object there, where one that has no references to
/// traverse only costs: a batch of messages in hand sets off a collection that looks at each of them (a third of the time of a
/// batched read).
#[inline]
pub fn untracked<'py, T>(object: Bound<'py, T>) -> Bound<'py, T> {
    // SAFETY: a live object of a type with Py_TPFLAGS_HAVE_GC; untracking again, at its end, does nothing.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
    object
}

/// The bytes of a key or payload: of a `str` its UTF-8.
pub fn text_or_bytes<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.as_bytes());
    }
    value
        .cast::<PyBytes>()
        .map(|b| b.as_bytes())
        .map_err(|_| PyTypeError::new_err("str or bytes expected"))
}

/// An aware datetime of UTC, cut to microseconds.
pub fn datetime(py: Python<'_>, ns: i64) -> PyResult<Bound<'_, PyAny>> {
    use pyo3::sync::PyOnceLock;
    static TOOLS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (epoch, delta) = TOOLS.get_or_try_init(py, || -> PyResult<_> {
        let module = py.import("datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        let epoch = module
            .getattr("datetime")?
            .call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        Ok((epoch.unbind(), module.getattr("timedelta")?.unbind()))
    })?;
    let delta = delta.bind(py).call1((
        0,
        ns.div_euclid(1_000_000_000),
        ns.rem_euclid(1_000_000_000) / 1000,
    ))?;
    epoch.bind(py).add(delta)
}
