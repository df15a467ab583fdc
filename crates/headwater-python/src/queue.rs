//! `Queue`: jobs go in here; they come out by its `Source`.

use std::sync::Arc;

use headwater_log::group::{JobId, OnDuplicate, Put};
use headwater_log::log::Record;
use headwater_log::queue::Queue as Inner;
use headwater_log::stream::Wait;
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::calls::text_or_bytes;
use crate::convert::{queue_config, queue_dict};
use crate::errors::{to_py, usage};
use crate::headers::BYTES;
use crate::hub::{detached, Link};
use crate::ready::ready;
use crate::source::{job, Source};
use crate::stream::{LARGE, LARGE_BATCH};
use crate::writing::{entries, ttl_ns, Batch, Writing};

#[pyclass(frozen, module = "headwater._engine")]
pub struct Queue {
    hub: Link,
    inner: Inner,
    name: Py<PyString>,
    writing: Arc<Writing>,
}

impl Queue {
    pub fn new(py: Python<'_>, hub: Link, inner: Inner, name: &str) -> Self {
        Self {
            hub,
            inner,
            name: PyString::new(py, name).unbind(),
            writing: Arc::new(Writing::bytes()),
        }
    }

    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn one(
        &self,
        value: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
        due_ns: Option<i64>,
        priority: u8,
        ttl: Option<f64>,
        unique: Option<&str>,
        on_duplicate: &str,
        headers: Option<&Bound<'_, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Put> {
        let py = value.py();
        self.hub.check(py)?;
        let data = self.writing.encode(value, content_type.is_some())?;
        let headers = self.writing.headers(headers, content_type)?;
        let record = Record {
            value: data.as_bytes(),
            key: key.map(text_or_bytes).transpose()?,
            time_ns,
            headers: match &headers {
                None => self.writing.plain(),
                Some(headers) => (!headers.is_empty()).then_some(headers),
            },
            id: None,
            due_ns,
            ttl_ns: ttl.map(ttl_ns),
            unique: unique.map(str::as_bytes),
        };
        self.writing.check(py, &record)?;
        let on_duplicate = match on_duplicate {
            "return" => OnDuplicate::Return,
            "raise" => OnDuplicate::Raise,
            other => {
                return Err(usage(
                    py,
                    &format!("on_duplicate={other:?}: it is \"return\" or \"raise\""),
                ))
            }
        };
        // With the GIL held where that takes no time, else without it.
        if record.value.len() <= LARGE {
            match self.inner.put(&record, priority, on_duplicate, Wait::Try) {
                Err(Error::WouldBlock) => {}
                done => return done.map_err(|e| to_py(py, e, "")),
            }
        }
        let wait = Wait::Until(self.hub.deadline());
        detached(py, || self.inner.put(&record, priority, on_duplicate, wait))
    }

    fn many<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<(Bound<'py, PyList>, Vec<Put>)> {
        self.hub.check(py)?;
        let entries = entries(&self.writing, items, true)?;
        let Batch {
            records,
            priorities,
            outcomes,
        } = Batch::of(py, &self.writing, &entries, atomic)?;
        if let Some(found) = self.run(py, &records, &priorities, &outcomes, atomic)? {
            return Ok(found);
        }
        let deadline = self.hub.deadline();
        let outcome = detached(py, || {
            self.inner
                .put_many(&records, &priorities, OnDuplicate::Return, atomic, deadline)
        })?;
        // The last of each lane is the one to wait for.
        let mut marks: Vec<Put> = Vec::new();
        let found = outcome.into_iter().map(|each| match each {
            Ok(put) => {
                match marks.iter_mut().find(|m| m.id.lane == put.id.lane) {
                    Some(mark) if mark.end_lba < put.end_lba => *mark = put,
                    Some(_) => {}
                    None => marks.push(put),
                }
                Ok(name_of(py, put.id))
            }
            Err(error) => Ok(to_py(py, error, "")
                .into_value(py)
                .into_bound(py)
                .into_any()),
        });
        let results = Batch::merge(py, outcomes, found)?;
        Ok((results, marks))
    }

    /// The short way of a batch that asks for nothing special; None: it does, or would have to wait.
    fn run<'py>(
        &self,
        py: Python<'py>,
        records: &[Record<'_>],
        priorities: &[u8],
        outcomes: &[Option<PyErr>],
        atomic: bool,
    ) -> PyResult<Option<(Bound<'py, PyList>, Vec<Put>)>> {
        let Some(lane) = priorities.first().copied() else {
            return Ok(None);
        };
        let bytes: usize = records.iter().map(|record| record.value.len()).sum();
        if bytes > LARGE_BATCH
            || outcomes.iter().any(Option::is_some)
            || priorities.iter().any(|other| *other != lane)
        {
            return Ok(None);
        }
        let run = match self.inner.put_run(records, lane, atomic, Wait::Try) {
            Ok(run) => run,
            // An error of one is its own outcome, which the long way tells.
            Err(Error::WouldBlock | Error::TooLarge { .. }) => return Ok(None),
            Err(error) => return Err(to_py(py, error, "")),
        };
        if let Some(error) = run.error {
            // What is sure to fit fails as a whole or not at all.
            return Err(to_py(py, error, ""));
        }
        let id = |seq| JobId { lane, seq };
        let names = (0..records.len() as u64).map(|n| name_of(py, id(run.first_seq + n)));
        let mark = Put {
            id: id(run.first_seq),
            duplicate: false,
            end_lba: run.end_lba,
        };
        Ok(Some((
            PyList::new(py, names.collect::<Vec<_>>())?,
            vec![mark],
        )))
    }

    /// After fsync, in a directory that acknowledges then.
    fn synced(&self, py: Python<'_>, marks: &[Put]) -> PyResult<()> {
        if !self.hub.always || marks.iter().all(|put| self.inner.durable(put)) {
            return Ok(());
        }
        let deadline = self.hub.deadline();
        detached(py, || {
            marks
                .iter()
                .try_for_each(|put| self.inner.wait_durable(put, Some(deadline)))
        })
    }

    fn synced_later<'py>(
        slf: &Bound<'py, Self>,
        marks: &[Put],
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        match &this.writing.waiting {
            Some(waiting)
                if this.hub.always && !marks.iter().all(|put| this.inner.durable(put)) =>
            {
                let marks: Vec<(u8, u64)> =
                    marks.iter().map(|put| (put.id.lane, put.end_lba)).collect();
                waiting
                    .bind(py)
                    .call_method1("durable", (slf, marks, result))
            }
            _ => {
                this.synced(py, marks)?;
                ready(py, result)
            }
        }
    }
}

/// A job's id as Python knows it.
fn name_of(py: Python<'_>, id: JobId) -> Bound<'_, PyAny> {
    // "9-18446744073709551615": lane, a dash, and the position from its last digit on.
    let mut text = [b'-'; 24];
    let (mut at, mut left) = (text.len(), id.seq);
    loop {
        at -= 1;
        text[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at -= 2;
    text[at] = b'0' + id.lane;
    // Digits and a dash.
    PyString::new(py, std::str::from_utf8(&text[at..]).unwrap_or_default()).into_any()
}

fn marks_of(marks: &[(u8, u64)]) -> Vec<Put> {
    marks
        .iter()
        .map(|(lane, end_lba)| Put {
            id: JobId {
                lane: *lane,
                seq: 0,
            },
            duplicate: false,
            end_lba: *end_lba,
        })
        .collect()
}

#[pymethods]
impl Queue {
    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyString> {
        self.name.clone_ref(py)
    }

    #[getter]
    fn source(&self, py: Python<'_>) -> PyResult<Source> {
        Ok(Source::of_queue(
            Arc::clone(&self.hub),
            self.inner.source().clone(),
            self.name.to_str(py)?,
        ))
    }

    #[pyo3(signature = (*, content_type=BYTES, encode=None, waiting=None))]
    fn bind(
        &self,
        py: Python<'_>,
        content_type: &str,
        encode: Option<Py<PyAny>>,
        waiting: Option<Py<PyAny>>,
    ) -> Self {
        let writing = Writing::new(content_type, encode, waiting).limited(self.hub.limit);
        let writing = Arc::new(writing);
        Self {
            hub: Arc::clone(&self.hub),
            inner: self.inner.clone(),
            name: self.name.clone_ref(py),
            writing,
        }
    }

    #[pyo3(signature = (value, /, *, key=None, due_ns=None, priority=0, ttl=None, unique=None, on_duplicate="return", headers=None, time_ns=None,
                        content_type=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn put<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        due_ns: Option<i64>,
        priority: u8,
        ttl: Option<f64>,
        unique: Option<&str>,
        on_duplicate: &str,
        headers: Option<&Bound<'py, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let done = self.one(
            value,
            key,
            due_ns,
            priority,
            ttl,
            unique,
            on_duplicate,
            headers,
            time_ns,
            content_type,
        )?;
        self.synced(value.py(), &[done])?;
        Ok(name_of(value.py(), done.id))
    }

    #[pyo3(signature = (value, /, *, key=None, due_ns=None, priority=0, ttl=None, unique=None, on_duplicate="return", headers=None, time_ns=None,
                        content_type=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn aput<'py>(
        slf: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        due_ns: Option<i64>,
        priority: u8,
        ttl: Option<f64>,
        unique: Option<&str>,
        on_duplicate: &str,
        headers: Option<&Bound<'py, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let done = this.one(
            value,
            key,
            due_ns,
            priority,
            ttl,
            unique,
            on_duplicate,
            headers,
            time_ns,
            content_type,
        )?;
        let name = name_of(py, done.id);
        if this.hub.always {
            return Self::synced_later(slf, &[done], name);
        }
        ready(py, name)
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn put_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let (results, marks) = self.many(items.py(), items, atomic)?;
        self.synced(items.py(), &marks)?;
        Ok(results)
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn aput_many<'py>(
        slf: &Bound<'py, Self>,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (results, marks) = slf.get().many(items.py(), items, atomic)?;
        Self::synced_later(slf, &marks, results.into_any())
    }

    /// mark: (lane, end) pairs.
    #[pyo3(signature = (mark, /))]
    fn durable(&self, mark: Vec<(u8, u64)>) -> bool {
        marks_of(&mark).iter().all(|put| self.inner.durable(put))
    }

    /// Blocks until all of `mark` is on the disk.
    #[pyo3(signature = (mark, /))]
    fn wait_durable(&self, py: Python<'_>, mark: Vec<(u8, u64)>) -> PyResult<()> {
        self.synced(py, &marks_of(&mark))
    }

    /// True: it will not be done. Raises NotFoundError where there never was such a job.
    #[pyo3(signature = (id, /))]
    fn cancel(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let id = job(py, id)?;
        detached(py, || self.inner.cancel(id))
    }

    fn purge(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.inner.purge())
    }

    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = detached(py, || self.inner.config())?;
        queue_dict(py, &config)
    }

    #[pyo3(signature = (**options))]
    fn alter(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let asked = queue_config(options)?;
        detached(py, || self.inner.alter(&asked)).map(drop)
    }
}
