//! `Stream`: appending, reading, and what is stored about it.

use std::sync::Arc;

use headwater_log::log::Record;
use headwater_log::options::StreamConfig;
use headwater_log::stream::{
    Appended, Conditions, Expect, ExpectKey, ReadOptions, Start, Stop, Stream as Inner, Wait,
};
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::calls::text_or_bytes;
use crate::convert::{group_config, group_dict, retention, stream_config};
use crate::decoding::Decoding;
use crate::errors::{to_py, usage};
use crate::headers::BYTES;
use crate::hub::{detached, detached_in, Link};
use crate::position::Position;
use crate::reader::Reader;
use crate::ready::ready;
use crate::source::Source;
use crate::writing::{entries, Batch, Writing};

/// Above this an append is copied with the GIL released.
pub const LARGE: usize = 64 << 10;
/// A batch may hold it longer: its cost a message is what counts.
pub const LARGE_BATCH: usize = 1 << 20;

#[pyclass(frozen, module = "headwater._engine")]
pub struct Stream {
    pub hub: Link,
    pub inner: Arc<Inner>,
    pub name: Py<PyString>,
    pub writing: Arc<Writing>,
}

impl Stream {
    pub fn new(py: Python<'_>, hub: Link, inner: Arc<Inner>, name: &str) -> Self {
        Self {
            hub,
            inner,
            name: PyString::new(py, name).unbind(),
            writing: Arc::new(Writing::bytes()),
        }
    }

    pub fn raise(&self, py: Python<'_>, error: Error) -> PyErr {
        to_py(py, error, self.name.to_str(py).unwrap_or_default())
    }

    fn conditions(
        &self,
        py: Python<'_>,
        expect: Option<&Bound<'_, PyAny>>,
        expect_key: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Conditions> {
        let seq = |place: &Bound<'_, PyAny>, word: &str, what: &str| -> PyResult<Option<u64>> {
            if let Ok(text) = place.cast::<PyString>() {
                if text.to_str()? == word {
                    return Ok(None);
                }
            } else if let Ok(position) = place.cast::<Position>() {
                return Ok(Some(position.get().seq));
            }
            Err(usage(py, &format!("{what} is a Position or {word:?}")))
        };
        Ok(Conditions {
            expect: expect
                .map(|p| seq(p, "empty", "expect"))
                .transpose()?
                .map(|s| s.map_or(Expect::Empty, Expect::Seq)),
            expect_key: expect_key
                .map(|p| seq(p, "absent", "expect_key"))
                .transpose()?
                .map(|s| s.map_or(ExpectKey::Absent, ExpectKey::Seq)),
        })
    }

    /// Appends with the GIL held where that takes no time, else without it.
    #[inline]
    fn put(
        &self,
        py: Python<'_>,
        record: &Record<'_>,
        conditions: &Conditions,
    ) -> PyResult<Appended> {
        self.hub.engine.check().map_err(|e| self.raise(py, e))?;
        if record.value.len() <= LARGE {
            match self.inner.append(record, conditions, Wait::Try) {
                Err(Error::WouldBlock) => {}
                done => return done.map_err(|e| self.raise(py, e)),
            }
        }
        let deadline = self.hub.deadline();
        detached_in(py, &self.name, || {
            self.inner.append(record, conditions, Wait::Until(deadline))
        })
    }

    fn put_many<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<(Bound<'py, PyList>, u64)> {
        self.hub.check(py)?;
        let entries = entries(&self.writing, items, false)?;
        let Batch {
            records, outcomes, ..
        } = Batch::of(py, &self.writing, &entries, atomic)?;
        let bytes: usize = records.iter().map(|r| r.value.len()).sum();
        self.hub.engine.check().map_err(|e| self.raise(py, e))?;
        let mut outcome = Err(Error::WouldBlock);
        if bytes <= LARGE_BATCH {
            outcome = self.inner.append_many(&records, atomic, Wait::Try);
        }
        if matches!(outcome, Err(Error::WouldBlock)) {
            let deadline = self.hub.deadline();
            outcome = py.detach(|| {
                self.inner
                    .append_many(&records, atomic, Wait::Until(deadline))
            });
        }
        let mut mark = 0;
        let found = outcome
            .map_err(|e| self.raise(py, e))?
            .into_iter()
            .map(|each| match each {
                Ok(done) => {
                    mark = mark.max(done.end_lba);
                    Position::of(py, &self.name, done.seq).map(Bound::into_any)
                }
                Err(error) => Ok(self
                    .raise(py, error)
                    .into_value(py)
                    .into_bound(py)
                    .into_any()),
            });
        let results = Batch::merge(py, outcomes, found)?;
        Ok((results, mark))
    }

    /// After fsync, in a directory that acknowledges then.
    pub fn synced(&self, py: Python<'_>, mark: u64) -> PyResult<()> {
        if !self.hub.always || self.inner.durable(mark) {
            return Ok(());
        }
        let deadline = self.hub.deadline();
        detached_in(py, &self.name, || {
            self.inner.wait_durable(mark, Some(deadline))
        })
    }

    pub fn synced_later<'py>(
        slf: &Bound<'py, Self>,
        mark: u64,
        result: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        match &this.writing.waiting {
            Some(waiting) if this.hub.always && !this.inner.durable(mark) => waiting
                .bind(py)
                .call_method1("durable", (slf, mark, result)),
            _ => {
                this.synced(py, mark)?;
                ready(py, result)
            }
        }
    }
}

#[pymethods]
impl Stream {
    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyString> {
        self.name.clone_ref(py)
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
            inner: Arc::clone(&self.inner),
            name: self.name.clone_ref(py),
            writing,
        }
    }

    #[pyo3(signature = (value, /, *, key=None, id=None, expect=None, expect_key=None, headers=None, time_ns=None, content_type=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn append<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        id: Option<&str>,
        expect: Option<&Bound<'py, PyAny>>,
        expect_key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Bound<'py, Position>> {
        let py = value.py();
        let done = self.one(
            value,
            key,
            id,
            expect,
            expect_key,
            headers,
            time_ns,
            content_type,
        )?;
        if self.hub.always {
            self.synced(py, done.end_lba)?;
        }
        Position::of(py, &self.name, done.seq)
    }

    #[pyo3(signature = (value, /, *, key=None, id=None, expect=None, expect_key=None, headers=None, time_ns=None, content_type=None))]
    #[allow(clippy::too_many_arguments)] // the pinned signature
    fn aappend<'py>(
        slf: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        id: Option<&str>,
        expect: Option<&Bound<'py, PyAny>>,
        expect_key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let done = this.one(
            value,
            key,
            id,
            expect,
            expect_key,
            headers,
            time_ns,
            content_type,
        )?;
        let position = Position::of(py, &this.name, done.seq)?.into_any();
        if this.hub.always {
            return Self::synced_later(slf, done.end_lba, position);
        }
        ready(py, position)
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn append_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let (results, mark) = self.put_many(items.py(), items, atomic)?;
        self.synced(items.py(), mark)?;
        Ok(results)
    }

    #[pyo3(signature = (items, /, *, atomic=false))]
    fn aappend_many<'py>(
        slf: &Bound<'py, Self>,
        items: &Bound<'py, PyAny>,
        atomic: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (results, mark) = slf.get().put_many(items.py(), items, atomic)?;
        Self::synced_later(slf, mark, results.into_any())
    }

    #[pyo3(signature = (mark, /))]
    fn durable(&self, mark: u64) -> bool {
        self.inner.durable(mark)
    }

    /// Blocks until everything below `mark` is on the disk.
    #[pyo3(signature = (mark, /))]
    fn wait_durable(&self, py: Python<'_>, mark: u64) -> PyResult<()> {
        self.synced(py, mark)
    }

    #[pyo3(signature = (decoding, *, start=None, after=None, last=None, time_ns=None, stop=None, stop_time_ns=None, follow=false, key=None,
                        skip_trimmed=false, waiting=None))]
    #[allow(clippy::too_many_arguments)] // as many ways to say where
    fn reader(
        &self,
        py: Python<'_>,
        decoding: Py<Decoding>,
        start: Option<&Bound<'_, PyAny>>,
        after: Option<u64>,
        last: Option<u64>,
        time_ns: Option<i64>,
        stop: Option<u64>,
        stop_time_ns: Option<i64>,
        follow: bool,
        key: Option<&Bound<'_, PyAny>>,
        skip_trimmed: bool,
        waiting: Option<Py<PyAny>>,
    ) -> PyResult<Reader> {
        let start = match (after, last, time_ns, start) {
            (Some(seq), ..) => Start::After(seq),
            (_, Some(n), ..) => Start::Last(n),
            (_, _, Some(time), _) => Start::Time(time),
            (.., Some(word)) if word.is_instance_of::<PyString>() => match word.extract()? {
                "earliest" => Start::Earliest,
                "latest" => Start::Latest,
                other => {
                    return Err(usage(
                        py,
                        &format!(
                            "start={other:?}: it is \"earliest\", \"latest\", a position or a time"
                        ),
                    ))
                }
            },
            (.., Some(seq)) => Start::Seq(seq.extract()?),
            (.., None) => Start::Earliest,
        };
        let options = ReadOptions {
            start,
            stop: stop.map(Stop::Seq).or(stop_time_ns.map(Stop::Time)),
            follow,
            key: key
                .map(|k| text_or_bytes(k).map(<[u8]>::to_vec))
                .transpose()?,
            skip_trimmed,
        };
        let reader = detached_in(py, &self.name, || self.inner.reader(options))?;
        Ok(Reader::new(
            Arc::clone(&self.hub),
            decoding,
            waiting,
            reader,
        ))
    }

    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = detached_in(py, &self.name, || self.inner.info())?;
        let dict = PyDict::new(py);
        dict.set_item("first_seq", info.first_seq)?;
        dict.set_item("last_seq", info.last_seq)?;
        dict.set_item("next_seq", info.next_seq)?;
        dict.set_item("records", info.records)?;
        dict.set_item("appended_total", info.appended_total)?;
        dict.set_item("bytes", info.bytes)?;
        dict.set_item("segments", info.segments)?;
        dict.set_item("first_time_ns", info.first_time_ns)?;
        dict.set_item("last_time_ns", info.last_time_ns)?;
        dict.set_item("holes", info.holes)?;
        dict.set_item("synced", info.synced)?;
        Ok(dict)
    }

    /// The names of its groups.
    fn groups(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let stream = self.name.to_str(py)?;
        detached(py, || self.hub.engine.groups(stream))
    }

    /// The group, and the options stored before (None: it is new).
    #[pyo3(signature = (name, /, **options))]
    fn declare_group<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Source, Option<Bound<'py, PyDict>>)> {
        let config = group_config(options)?;
        let stream = self.name.to_str(py)?;
        let (inner, before) =
            detached(py, || self.hub.engine.declare_group(stream, name, &config))?;
        let before = before.map(|config| group_dict(py, &config)).transpose()?;
        Ok((Source::of_group(Arc::clone(&self.hub), inner, name), before))
    }

    #[pyo3(signature = (name, /))]
    fn open_group(&self, py: Python<'_>, name: &str) -> PyResult<Source> {
        let stream = self.name.to_str(py)?;
        let inner = detached(py, || self.hub.engine.open_group(stream, name))?;
        Ok(Source::of_group(Arc::clone(&self.hub), inner, name))
    }

    /// What lies at a position, without its value: {append_ns, time_ns, key, bytes, due_ns, ttl_ns}; None: nothing.
    #[pyo3(signature = (seq, /))]
    fn stored<'py>(&self, py: Python<'py>, seq: u64) -> PyResult<Option<Bound<'py, PyDict>>> {
        let record = detached_in(py, &self.name, || self.inner.log().read_at(seq))?;
        record
            .map(|record| crate::tools::record_dict(py, &record))
            .transpose()
    }

    #[pyo3(signature = (name, /))]
    fn delete_group(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let stream = self.name.to_str(py)?;
        detached(py, || self.hub.engine.delete_group(stream, name))
    }

    #[pyo3(signature = (before, /))]
    fn trim(&self, py: Python<'_>, before: u64) -> PyResult<u64> {
        detached_in(py, &self.name, || self.inner.trim(before))
    }

    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = detached(py, || self.inner.config())?;
        stream_config(py, &config)
    }

    #[pyo3(signature = (*, retention=None, partitions=None))]
    fn alter(
        &self,
        py: Python<'_>,
        retention: Option<(Option<f64>, Option<u64>, Option<u64>)>,
        partitions: Option<u32>,
    ) -> PyResult<()> {
        let asked = StreamConfig {
            retention: self::retention(retention),
            partitions,
        };
        detached(py, || self.inner.alter(&asked)).map(drop)
    }
}

impl Stream {
    #[inline]
    #[allow(clippy::too_many_arguments)] // as above
    fn one<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        id: Option<&str>,
        expect: Option<&Bound<'py, PyAny>>,
        expect_key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        time_ns: Option<i64>,
        content_type: Option<&str>,
    ) -> PyResult<Appended> {
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
            id: id.map(str::as_bytes),
            ..Record::default()
        };
        self.writing.check(py, &record)?;
        let conditions = if expect.is_none() && expect_key.is_none() {
            Conditions::default()
        } else {
            self.conditions(py, expect, expect_key)?
        };
        self.put(py, &record, &conditions)
    }
}
