//! `Appender`: a stream's `append` and `append_many` as programs call them, with no Python in the way of what has no options. What
//! has options, would have to wait, or fails before anything is appended goes to the pattern's own methods, which do all of it.

use std::ffi::c_ulong;
use std::ptr;

use headwater_log::log::Record;
use headwater_log::stream::{Appended, Conditions, Run, Wait};
use headwater_log::Error;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyTuple, PyType};

use crate::calls::text_or_bytes;
use crate::hub::count;
use crate::position::Position;
use crate::ready::{failed, ready};
use crate::stream::{Stream, LARGE, LARGE_BATCH};

extern "C" {
    /// Of the stable ABI: threading.get_ident().
    fn PyThread_get_thread_ident() -> c_ulong;
}

const NAMES: [&str; 6] = ["key", "id", "expect", "expect_key", "headers", "time"];

#[pyclass(frozen, module = "headwater._engine")]
pub struct Appender {
    stream: Py<Stream>,
    append: Py<PyAny>,
    append_many: Py<PyAny>,
    /// Is given a batch and what became of it, when that is not all well.
    outcomes: Py<PyAny>,
    /// `headwater.Item`: an element with options.
    item: Py<PyType>,
    /// Values of any type may come: bytes among them go as they are.
    any: bool,
    /// The only thread that may use it.
    thread: Option<c_ulong>,
}

impl Appender {
    #[inline]
    fn is_here(&self) -> bool {
        // SAFETY: takes no arguments and can't fail.
        self.thread
            .is_none_or(|thread| thread == unsafe { PyThread_get_thread_ident() })
    }

    fn slow<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        options: [Option<&Bound<'py, PyAny>>; 6],
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = PyDict::new(value.py());
        for (name, option) in NAMES.iter().zip(options) {
            if let Some(option) = option {
                given.set_item(name, option)?;
            }
        }
        self.append.bind(value.py()).call((value,), Some(&given))
    }

    fn slow_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = PyDict::new(items.py());
        given.set_item("atomic", atomic)?;
        self.append_many
            .bind(items.py())
            .call((items,), Some(&given))
    }

    /// None: it is for the slow way.
    #[inline]
    fn quick(&self, value: &Bound<'_, PyAny>) -> Option<Result<Appended, Error>> {
        let (py, stream) = (value.py(), self.stream.get());
        let writing = &stream.writing;
        let encoded;
        let (data, headers) = match (&writing.encode, value.cast_exact::<PyBytes>()) {
            (None, Ok(bytes)) => (bytes.as_bytes(), writing.plain()),
            (None, Err(_)) => return None,
            (Some(_), Ok(bytes)) if self.any => (bytes.as_bytes(), None),
            (Some(_), _) if self.any && is_buffer(value) => return None,
            (Some(_), _) => {
                encoded = writing.encode(value, false).ok()?;
                (encoded.as_bytes(), writing.plain())
            }
        };
        let record = Record {
            value: data,
            headers,
            ..Record::default()
        };
        if data.len() > LARGE
            || writing.check(py, &record).is_err()
            || stream.hub.engine.check().is_err()
        {
            return None;
        }
        let done = stream
            .inner
            .append(&record, &Conditions::default(), Wait::Try);
        if matches!(done, Err(Error::WouldBlock)) {
            return None;
        }
        count(&stream.hub.counters.appended, 1);
        Some(done)
    }

    /// None: it is for the slow way, and nothing was appended.
    fn quick_many(&self, items: &Bound<'_, PyAny>, atomic: bool) -> Option<Run> {
        let (py, stream) = (items.py(), self.stream.get());
        let writing = &stream.writing;
        let list = items.cast_exact::<PyList>().ok()?;
        let item = self.item.bind(py).as_type_ptr();
        let mut known: *mut ffi::PyTypeObject = ptr::null_mut();
        let mut encoded = Vec::with_capacity(list.len());
        for value in list {
            let (value, key) = if value.get_type_ptr() == item {
                keyed(&value)?
            } else {
                (value, None)
            };
            let data = if writing.encode.is_none() {
                value.cast_into_exact::<PyBytes>().ok()?
            } else {
                let kind = value.get_type_ptr();
                if kind != known && self.is_special(&value) {
                    return None;
                }
                known = kind;
                writing.encode(&value, false).ok()?
            };
            encoded.push((data, key));
        }
        let mut bytes = 0;
        let mut records = Vec::with_capacity(encoded.len());
        for (data, key) in &encoded {
            let record = Record {
                value: data.as_bytes(),
                key: key.as_ref().map(text_or_bytes).transpose().ok()?,
                headers: writing.plain(),
                ..Record::default()
            };
            writing.check(py, &record).ok()?;
            bytes += record.value.len();
            records.push(record);
        }
        if records.is_empty() || bytes > LARGE_BATCH || stream.hub.engine.check().is_err() {
            return None;
        }
        let run = stream.inner.append_run(&records, atomic, Wait::Try).ok()?;
        count(&stream.hub.counters.appended, records.len());
        Some(run)
    }

    /// Whether an element of a batch has options, or would not be encoded.
    #[cold]
    fn is_special(&self, value: &Bound<'_, PyAny>) -> bool {
        value
            .is_instance(self.item.bind(value.py()))
            .unwrap_or(true)
            || value.is_instance_of::<PyTuple>()
            || self.any && is_buffer(value)
    }

    fn positions<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        run: &mut Run,
    ) -> PyResult<Bound<'py, PyList>> {
        let (py, stream) = (items.py(), self.stream.get());
        let positions = (0..run.done)
            .map(|n| Position::of(py, &stream.name, run.first_seq + n as u64))
            .collect::<PyResult<Vec<_>>>()?;
        let list = PyList::new(py, positions)?;
        let Some(error) = run.error.take() else {
            return Ok(list);
        };
        let error = stream.raise(py, error);
        for _ in run.done..items.len()? {
            list.append(error.clone_ref(py).into_value(py))?;
        }
        Ok(self.outcomes.bind(py).call1((items, list))?.cast_into()?)
    }
}

/// Value and key of an `Item` that has no other options.
fn keyed<'py>(item: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    let py = item.py();
    for name in [
        intern!(py, "id"),
        intern!(py, "headers"),
        intern!(py, "time"),
        intern!(py, "ttl"),
        intern!(py, "unique"),
    ] {
        if !item.getattr(name).ok()?.is_none() {
            return None;
        }
    }
    for name in [intern!(py, "delay"), intern!(py, "priority")] {
        if item.getattr(name).ok()?.is_truthy().unwrap_or(true) {
            return None;
        }
    }
    let key = item.getattr(intern!(py, "key")).ok()?;
    let value = item.getattr(intern!(py, "value")).ok()?;
    Some((value, (!key.is_none()).then_some(key)))
}

/// What goes as it is where values of any type may come.
fn is_buffer(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
}

#[pymethods]
impl Appender {
    #[new]
    #[pyo3(signature = (stream, append, append_many, outcomes, *, item, any, thread=None))]
    fn new(
        stream: Py<Stream>,
        append: Py<PyAny>,
        append_many: Py<PyAny>,
        outcomes: Py<PyAny>,
        item: Py<PyType>,
        any: bool,
        thread: Option<c_ulong>,
    ) -> Self {
        Self {
            stream,
            append,
            append_many,
            outcomes,
            item,
            any,
            thread,
        }
    }

    #[pyo3(signature = (value, *, key=None, id=None, expect=None, expect_key=None, headers=None, time=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature; naming them saves a dict for each call
    fn append<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        id: Option<&Bound<'py, PyAny>>,
        expect: Option<&Bound<'py, PyAny>>,
        expect_key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        time: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, stream) = (value.py(), self.stream.get());
        let options = [key, id, expect, expect_key, headers, time];
        let bare = options.iter().all(Option::is_none);
        match if bare { self.quick(value) } else { None } {
            None => self.slow(value, options),
            Some(Err(error)) => Err(stream.raise(py, error)),
            Some(Ok(done)) => {
                if stream.hub.always {
                    stream.synced(py, done.end_lba)?;
                }
                Ok(Position::of(py, &stream.name, done.seq)?.into_any())
            }
        }
    }

    #[pyo3(signature = (value, *, key=None, id=None, expect=None, expect_key=None, headers=None, time=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature; naming them saves a dict for each call
    fn aappend<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        id: Option<&Bound<'py, PyAny>>,
        expect: Option<&Bound<'py, PyAny>>,
        expect_key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        time: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, stream) = (value.py(), self.stream.get());
        let options = [key, id, expect, expect_key, headers, time];
        let bare = options.iter().all(Option::is_none) && self.is_here();
        match if bare { self.quick(value) } else { None } {
            None => self.slow(value, options),
            Some(Err(error)) => failed(py, stream.raise(py, error)),
            Some(Ok(done)) => {
                let position = Position::of(py, &stream.name, done.seq)?.into_any();
                if stream.hub.always {
                    return Stream::synced_later(self.stream.bind(py), done.end_lba, position);
                }
                ready(py, position)
            }
        }
    }

    #[pyo3(signature = (items, *, atomic=false))]
    fn append_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, stream) = (items.py(), self.stream.get());
        match self.quick_many(items, atomic) {
            None => self.slow_many(items, atomic),
            Some(mut run) => {
                stream.synced(py, run.end_lba)?;
                Ok(self.positions(items, &mut run)?.into_any())
            }
        }
    }

    #[pyo3(signature = (items, *, atomic=false))]
    fn aappend_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = items.py();
        let here = self.is_here();
        match if here {
            self.quick_many(items, atomic)
        } else {
            None
        } {
            None => self.slow_many(items, atomic),
            Some(mut run) => match self.positions(items, &mut run) {
                Err(error) => failed(py, error),
                Ok(list) => {
                    Stream::synced_later(self.stream.bind(py), run.end_lba, list.into_any())
                }
            },
        }
    }

    /// The pattern's object has this one's methods, which have the pattern's: a cycle, which only the collector can end.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.append)?;
        visit.call(&self.append_many)?;
        visit.call(&self.outcomes)
    }
}
