//! `Queue`: jobs go in here; they come out by its `Source`.

use std::sync::Arc;

use headwater_log::group::{OnDuplicate, Put};
use headwater_log::log::Record;
use headwater_log::queue::Queue as Inner;
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::calls::text_or_bytes;
use crate::convert::{queue_config, queue_dict};
use crate::errors::{to_py, usage};
use crate::headers::BYTES;
use crate::hub::{detached, Later, Link};
use crate::ready::ready;
use crate::source::{job, Source};
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
        detached(py, || self.inner.put(&record, priority, on_duplicate))
    }

    fn many<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<(Bound<'py, PyList>, Vec<Put>)> {
        let entries = entries(&self.writing, items, true)?;
        let Batch { records, outcomes } = Batch::of(py, &self.writing, &entries, atomic)?;
        let outcome = detached(py, || {
            self.inner.put_many(&records, OnDuplicate::Return, atomic)
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
                Ok(PyString::new(py, &put.id.to_string()).into_any())
            }
            Err(error) => Ok(to_py(py, error, "")
                .into_value(py)
                .into_bound(py)
                .into_any()),
        });
        let results = Batch::merge(py, outcomes, found)?;
        Ok((results, marks))
    }

    fn synced(hub: &Link, inner: &Inner, py: Python<'_>, marks: &[Put]) -> PyResult<()> {
        if hub.always {
            let deadline = hub.deadline();
            detached(py, || {
                marks
                    .iter()
                    .try_for_each(|put| inner.wait_durable(put, Some(deadline)))
            })?;
        }
        Ok(())
    }

    fn synced_later<'py>(
        &self,
        py: Python<'py>,
        marks: Vec<Put>,
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match &self.writing.waiting {
            Some(waiting) if self.hub.always => {
                let (hub, inner, kept) =
                    (Arc::clone(&self.hub), self.inner.clone(), result.unbind());
                let later = Later::new(move |py| {
                    Self::synced(&hub, &inner, py, &marks).map(|()| kept.clone_ref(py))
                });
                waiting.bind(py).call_method1("call", (later,))
            }
            _ => {
                Self::synced(&self.hub, &self.inner, py, &marks)?;
                ready(py, result)
            }
        }
    }
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
        let writing = Arc::new(Writing::new(content_type, encode, waiting));
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
    ) -> PyResult<String> {
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
        Self::synced(&self.hub, &self.inner, value.py(), &[done])?;
        Ok(done.id.to_string())
    }

    #[pyo3(signature = (value, /, *, key=None, due_ns=None, priority=0, ttl=None, unique=None, on_duplicate="return", headers=None, time_ns=None,
                        content_type=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn aput<'py>(
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
        let py = value.py();
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
        self.synced_later(
            py,
            vec![done],
            PyString::new(py, &done.id.to_string()).into_any(),
        )
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn put_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let (results, marks) = self.many(items.py(), items, atomic)?;
        Self::synced(&self.hub, &self.inner, items.py(), &marks)?;
        Ok(results)
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn aput_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (results, marks) = self.many(items.py(), items, atomic)?;
        self.synced_later(items.py(), marks, results.into_any())
    }

    /// True: it will not be done.
    #[pyo3(signature = (id, /))]
    fn cancel(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let id = job(py, id)?;
        match py.detach(|| self.inner.cancel(id)) {
            Err(Error::NotFound { .. }) => Ok(false),
            done => done.map_err(|e| to_py(py, e, "")),
        }
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
