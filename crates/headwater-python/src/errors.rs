//! Every engine error to its class of `headwater.errors`, with its attributes; the only place where that is done.

use headwater_log::Error;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::position::Position;

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// An exception of the class `headwater.errors.<class>`, without arguments to its constructor but the message.
fn exception<'py>(py: Python<'py>, class: &str, message: &str) -> PyResult<Bound<'py, PyAny>> {
    let module = MODULE
        .get_or_try_init(py, || {
            PyModule::import(py, "headwater.errors").map(Bound::unbind)
        })?
        .bind(py);
    let class = module.getattr(class)?;
    // `__new__` alone: the attributes are set below, whatever the constructor asks for.
    class.call_method1("__new__", (&class, message))
}

/// `UsageError` and its like, made in the binding itself.
pub fn raise(py: Python<'_>, class: &str, message: &str) -> PyErr {
    exception(py, class, message).map_or_else(|e| e, PyErr::from_value)
}

pub fn usage(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "UsageError", message)
}

/// An engine error as Python raises it. `stream` is the stream that positions in it belong to.
pub fn to_py(py: Python<'_>, error: Error, stream: &str) -> PyErr {
    build(py, error, stream).unwrap_or_else(|e| e)
}

fn build(py: Python<'_>, error: Error, stream: &str) -> PyResult<PyErr> {
    let message = error.to_string();
    let position = |seq: u64| Position::new(py, stream, seq);
    let new = |class: &str| exception(py, class, &message);
    let value = match error {
        Error::WouldBlock => return Ok(PyRuntimeError::new_err(message)),
        Error::Usage(_) => new("UsageError")?,
        Error::InvalidName { name, .. } => {
            let e = new("InvalidNameError")?;
            e.setattr("name", name)?;
            e
        }
        Error::Forked { .. } => new("ForkedError")?,
        Error::Declaration { stored, asked, .. } => {
            let e = new("DeclarationError")?;
            e.setattr("stored", stored)?;
            e.setattr("asked", asked)?;
            e
        }
        Error::Connect { .. } => new("ConnectError")?,
        Error::Incompatible {
            found, supported, ..
        } => {
            let e = new("IncompatibleError")?;
            e.setattr("found", found)?;
            e.setattr("supported", supported)?;
            e
        }
        Error::Timeout {
            maybe_sent, holder, ..
        } => {
            let e = new("OperationTimeoutError")?;
            e.setattr("maybe_sent", maybe_sent)?;
            e.setattr("holder", holder)?;
            e
        }
        Error::Closed(_) => new("ClosedError")?,
        Error::NotFound { name, .. } => {
            let e = new("NotFoundError")?;
            e.setattr("name", name)?;
            e
        }
        Error::Conflict { actual, .. } => {
            let e = new("ConflictError")?;
            e.setattr("actual", actual.map(position).transpose()?)?;
            e
        }
        Error::Duplicate { first } => {
            let e = new("DuplicateError")?;
            e.setattr("first", first)?;
            e
        }
        Error::Trimmed { first, .. } => {
            let e = new("TrimmedError")?;
            e.setattr("first", position(first)?)?;
            e
        }
        Error::TooLarge { size, limit, .. } => {
            let e = new("TooLargeError")?;
            e.setattr("size", size)?;
            e.setattr("limit", limit)?;
            e
        }
        Error::Full { limit, .. } => {
            let e = new("FullError")?;
            e.setattr("limit", limit)?;
            e
        }
        Error::SlowConsumer { dropped, .. } => {
            let e = new("SlowConsumerError")?;
            e.setattr("dropped", dropped)?;
            e
        }
        Error::LeaseLost { .. } => new("LeaseLostError")?,
        Error::StorageFull { path, .. } => {
            let e = new("StorageFullError")?;
            e.setattr("path", path.display().to_string())?;
            e
        }
        Error::Durability { last_synced, .. } => {
            let e = new("DurabilityError")?;
            e.setattr("last_synced", last_synced)?;
            e
        }
        Error::Corruption { file, offset, .. } => {
            let e = new("CorruptionError")?;
            e.setattr("file", file.display().to_string())?;
            e.setattr("offset", offset)?;
            e
        }
        Error::Io { path, source, .. } => {
            let e = new("StorageError")?;
            let cause = PyOSError::new_err((
                source.raw_os_error().unwrap_or(0),
                source.to_string(),
                path.display().to_string(),
            ));
            e.setattr("__cause__", cause.value(py))?;
            e
        }
        // `Error` is non-exhaustive: a variant that is new to the binding is still ours.
        other => exception(py, "StorageError", &other.to_string())?,
    };
    Ok(PyErr::from_value(value))
}
