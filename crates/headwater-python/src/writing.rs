//! What goes in: values and options from Python, as records.

use headwater_log::log::{writer_check, Record};
use headwater_log::options::limits::RECORD_BYTES;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyString, PyTuple};

use crate::calls::{call_one, text_or_bytes};
use crate::errors::{raise, to_py, usage};
use crate::headers::{self, ContentType};

/// How one handle's values become bytes, and how its awaitables wait.
pub struct Writing {
    pub content: ContentType,
    /// The headers of a record that has none but its content type.
    pub plain: Vec<u8>,
    pub encode: Option<Py<PyAny>>,
    pub waiting: Option<Py<PyAny>>,
    /// The largest message, bytes, where it is below what the engine takes.
    limit: u64,
}

impl Writing {
    pub fn new(content_type: &str, encode: Option<Py<PyAny>>, waiting: Option<Py<PyAny>>) -> Self {
        let content = ContentType::new(content_type);
        let mut plain = Vec::new();
        headers::plain(&content, &mut plain);
        Self {
            content,
            plain,
            encode,
            waiting,
            limit: RECORD_BYTES,
        }
    }

    /// With a limit of its own.
    pub fn limited(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Errors: TooLargeError, before anything is sent.
    #[inline]
    pub fn check(&self, py: Python<'_>, record: &Record<'_>) -> PyResult<()> {
        if self.limit >= RECORD_BYTES {
            // The engine looks itself.
            return Ok(());
        }
        writer_check(record, self.limit).map_err(|error| to_py(py, error, ""))
    }

    pub fn bytes() -> Self {
        Self::new(headers::BYTES, None, None)
    }

    pub fn plain(&self) -> Option<&[u8]> {
        (!self.plain.is_empty()).then_some(&self.plain)
    }

    /// The bytes of a value; with a content type of its own it is bytes already.
    #[inline]
    pub fn encode<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        encoded: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match &self.encode {
            Some(encode) if !encoded => as_bytes(&call_one(encode.bind(value.py()), value)?),
            _ => as_bytes(value),
        }
    }

    /// The headers of one record; None: `plain`.
    pub fn headers(
        &self,
        headers: Option<&Bound<'_, PyAny>>,
        content_type: Option<&str>,
    ) -> PyResult<Option<Vec<u8>>> {
        if headers.is_none() && content_type.is_none() {
            return Ok(None);
        }
        let mut out = Vec::new();
        let other = content_type.map(ContentType::new);
        headers::encode(other.as_ref().unwrap_or(&self.content), headers, &mut out)?;
        Ok(Some(out))
    }
}

#[inline]
fn as_bytes<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let py = value.py();
    if value.is_instance_of::<PyString>() {
        return Err(raise(py, "EncodeError", "bytes expected, not str"));
    }
    // bytearray, memoryview and the like: through the buffer protocol.
    let kind = value.get_type();
    let buffer = unsafe { pyo3::ffi::PyObject_CheckBuffer(value.as_ptr()) } != 0;
    if !buffer {
        return Err(raise(
            py,
            "EncodeError",
            &format!("bytes expected, not {}", kind.name()?),
        ));
    }
    Ok(py.get_type::<PyBytes>().call1((value,))?.cast_into()?)
}

/// One record's parts, kept alive while the engine reads them.
pub struct Entry<'py> {
    value: Bound<'py, PyBytes>,
    key: Option<Bound<'py, PyAny>>,
    id: Option<Bound<'py, PyString>>,
    headers: Option<Vec<u8>>,
    time_ns: Option<i64>,
    due_ns: Option<i64>,
    ttl_ns: Option<i64>,
    unique: Option<Bound<'py, PyString>>,
    pub priority: u8,
}

/// A time to live from seconds.
pub fn ttl_ns(ttl: f64) -> i64 {
    (ttl * 1e9).min(i64::MAX as f64 / 2.0) as i64
}

impl<'py> Entry<'py> {
    fn plain(value: Bound<'py, PyBytes>) -> Self {
        Self {
            value,
            key: None,
            id: None,
            headers: None,
            time_ns: None,
            due_ns: None,
            ttl_ns: None,
            unique: None,
            priority: 0,
        }
    }

    /// (value, key, id, headers, time_ns, content_type)
    fn of_stream(writing: &Writing, item: &Bound<'py, PyTuple>) -> PyResult<Self> {
        type Fields<'py> = (
            Bound<'py, PyAny>,
            Option<Bound<'py, PyAny>>,
            Option<Bound<'py, PyString>>,
            Option<Bound<'py, PyAny>>,
            Option<i64>,
            Option<String>,
        );
        let (value, key, id, headers, time_ns, content): Fields<'py> = item.extract()?;
        let value = writing.encode(&value, content.is_some())?;
        let headers = writing.headers(headers.as_ref(), content.as_deref())?;
        Ok(Self {
            key,
            id,
            headers,
            time_ns,
            ..Self::plain(value)
        })
    }

    /// (value, key, headers, time_ns, due_ns, priority, ttl, unique, content_type)
    fn of_queue(writing: &Writing, item: &Bound<'py, PyTuple>) -> PyResult<Self> {
        type Fields<'py> = (
            Bound<'py, PyAny>,
            Option<Bound<'py, PyAny>>,
            Option<Bound<'py, PyAny>>,
            Option<i64>,
            Option<i64>,
            u8,
            Option<f64>,
            Option<Bound<'py, PyString>>,
            Option<String>,
        );
        let (value, key, headers, time_ns, due_ns, priority, ttl, unique, content): Fields<'py> =
            item.extract()?;
        let value = writing.encode(&value, content.is_some())?;
        let headers = writing.headers(headers.as_ref(), content.as_deref())?;
        Ok(Self {
            key,
            headers,
            time_ns,
            due_ns,
            ttl_ns: ttl.map(ttl_ns),
            unique,
            priority,
            ..Self::plain(value)
        })
    }

    pub fn record<'a>(&'a self, writing: &'a Writing) -> PyResult<Record<'a>> {
        Ok(Record {
            value: self.value.as_bytes(),
            key: self.key.as_ref().map(text_or_bytes).transpose()?,
            time_ns: self.time_ns,
            headers: match &self.headers {
                None => writing.plain(),
                Some(headers) => (!headers.is_empty()).then_some(headers),
            },
            id: self
                .id
                .as_ref()
                .map(|t| t.to_str().map(str::as_bytes))
                .transpose()?,
            due_ns: self.due_ns,
            ttl_ns: self.ttl_ns,
            unique: self
                .unique
                .as_ref()
                .map(|t| t.to_str().map(str::as_bytes))
                .transpose()?,
        })
    }
}

/// Records of those that encoded. Beside them the outcomes as Python gets them: the error of one that did not encode, or a hole for
/// what the engine says. `atomic`: the first error is raised.
pub struct Batch<'a> {
    pub records: Vec<Record<'a>>,
    /// Beside the records.
    pub priorities: Vec<u8>,
    pub outcomes: Vec<Option<PyErr>>,
}

impl<'a> Batch<'a> {
    pub fn of(
        py: Python<'_>,
        writing: &'a Writing,
        entries: &'a [PyResult<Entry<'_>>],
        atomic: bool,
    ) -> PyResult<Self> {
        let mut batch = Self {
            records: Vec::with_capacity(entries.len()),
            priorities: Vec::with_capacity(entries.len()),
            outcomes: Vec::with_capacity(entries.len()),
        };
        for entry in entries {
            let record = match entry {
                Ok(entry) => entry.record(writing).and_then(|record| {
                    writing.check(py, &record)?;
                    Ok((record, entry.priority))
                }),
                Err(error) => Err(error.clone_ref(py)),
            };
            match record {
                Ok((record, priority)) => {
                    batch.records.push(record);
                    batch.priorities.push(priority);
                    batch.outcomes.push(None);
                }
                Err(error) if atomic => return Err(error),
                Err(error) => batch.outcomes.push(Some(error)),
            }
        }
        Ok(batch)
    }

    /// All outcomes in order, the engine's in the holes.
    pub fn merge<'py>(
        py: Python<'py>,
        outcomes: Vec<Option<PyErr>>,
        mut found: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let all = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                None => found
                    .next()
                    .unwrap_or_else(|| Err(usage(py, "the engine left out an outcome"))),
                Some(error) => Ok(error.into_value(py).into_bound(py).into_any()),
            })
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, all)
    }
}

/// The elements of `append_many` or `put_many`: plain values, or tuples with options.
pub fn entries<'py>(
    writing: &Writing,
    items: &Bound<'py, PyAny>,
    queue: bool,
) -> PyResult<Vec<PyResult<Entry<'py>>>> {
    let mut found = Vec::with_capacity(items.len()?);
    let mut add = |item: Bound<'py, PyAny>| {
        found.push(match item.cast_exact::<PyTuple>() {
            Ok(tuple) if queue => Entry::of_queue(writing, tuple),
            Ok(tuple) => Entry::of_stream(writing, tuple),
            Err(_) => writing.encode(&item, false).map(Entry::plain),
        });
    };
    if let Ok(list) = items.cast_exact::<PyList>() {
        for item in list {
            add(item);
        }
    } else {
        for item in items
            .cast::<PySequence>()
            .map_err(|_| usage(items.py(), "a sequence of items expected"))?
            .try_iter()?
        {
            add(item?);
        }
    }
    Ok(found)
}
