//! `Engine`: one opened directory (or memory), and `LoopBell`, by which an event loop waits for it.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use headwater_log::options::{Durability, OpenOptions, StreamConfig};
use headwater_log::shared::LoopBell as InnerBell;
use headwater_log::Engine as Inner;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::channel::Channel;
use crate::convert::{queue_config, queue_dict, retention, stream_config};
use crate::errors::{to_py, usage};
use crate::hub::{detached, seconds, Hub, Link};
use crate::iterating::SLICE;
use crate::queue::Queue;
use crate::stream::Stream;

#[pyclass(frozen, module = "headwater._engine")]
pub struct Engine {
    hub: Link,
}

fn durability_text(durability: Durability) -> &'static str {
    match durability {
        Durability::Never => "never",
        Durability::Interval => "interval",
        Durability::Always => "always",
    }
}

fn durability(py: Python<'_>, text: Option<&str>) -> PyResult<Option<Durability>> {
    Ok(Some(match text {
        None => return Ok(None),
        Some("never") => Durability::Never,
        Some("interval") => Durability::Interval,
        Some("always") => Durability::Always,
        Some(other) => {
            return Err(usage(
                py,
                &format!("durability={other:?}: it is \"never\", \"interval\" or \"always\""),
            ))
        }
    }))
}

impl Engine {
    fn inner(&self) -> &Inner {
        &self.hub.engine
    }
}

#[pymethods]
impl Engine {
    #[staticmethod]
    #[pyo3(signature = (path, *, create=true, durability=None, interval=None, connect_timeout=10.0, op_timeout=30.0,
                        max_message_bytes=headwater_log::options::limits::RECORD_BYTES, name="", allow_network_fs=false))]
    #[allow(clippy::too_many_arguments)] // the options of the URL
    fn open(
        py: Python<'_>,
        path: std::path::PathBuf,
        create: bool,
        durability: Option<&str>,
        interval: Option<f64>,
        connect_timeout: f64,
        op_timeout: f64,
        max_message_bytes: u64,
        name: &str,
        allow_network_fs: bool,
    ) -> PyResult<Self> {
        let options = OpenOptions {
            create,
            durability: self::durability(py, durability)?,
            interval: interval.map(seconds),
            connect_timeout: seconds(connect_timeout),
            op_timeout: seconds(op_timeout),
            name: name.to_owned(),
            allow_network_fs,
            ..OpenOptions::new(path)
        };
        let engine = detached(py, || Inner::open(&options))?;
        Ok(Self {
            hub: Hub::new(engine, op_timeout, max_message_bytes, Arc::default()),
        })
    }

    /// Over anonymous memory; all openings of one name in this process share it, None is the caller's alone.
    #[staticmethod]
    #[pyo3(signature = (name, *, op_timeout=30.0, max_message_bytes=headwater_log::options::limits::RECORD_BYTES))]
    fn memory(
        py: Python<'_>,
        name: Option<&str>,
        op_timeout: f64,
        max_message_bytes: u64,
    ) -> PyResult<Self> {
        let options = OpenOptions {
            op_timeout: seconds(op_timeout),
            ..OpenOptions::new("memory:")
        };
        let engine = detached(py, || Inner::memory(name, &options))?;
        Ok(Self {
            hub: Hub::new(engine, op_timeout, max_message_bytes, Arc::default()),
        })
    }

    #[getter]
    fn closed(&self) -> bool {
        self.inner().is_closed()
    }

    /// Raises ClosedError or ForkedError where the engine cannot be used.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.inner().check().map_err(|e| to_py(py, e, ""))
    }

    #[getter]
    fn durability(&self) -> &'static str {
        durability_text(self.inner().info().acks)
    }

    #[pyo3(signature = (op_timeout, /))]
    fn with_timeout(&self, op_timeout: f64) -> Self {
        Self {
            hub: Hub::new(
                self.inner().clone(),
                op_timeout,
                self.hub.limit,
                Arc::clone(&self.hub.counters),
            ),
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.inner().close())
    }

    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = timeout.map_or_else(|| self.hub.deadline(), |t| Instant::now() + seconds(t));
        detached(py, || self.inner().flush(Some(deadline)))
    }

    /// {appended, received, acked} of this connection.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item(
            "appended",
            self.hub.counters.appended.load(Ordering::Relaxed),
        )?;
        dict.set_item(
            "received",
            self.hub.counters.received.load(Ordering::Relaxed),
        )?;
        dict.set_item("acked", self.hub.counters.acked.load(Ordering::Relaxed))?;
        Ok(dict)
    }

    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = self.inner().info();
        let dict = PyDict::new(py);
        dict.set_item("path", info.path.display().to_string())?;
        dict.set_item(
            "uuid",
            info.uuid
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>(),
        )?;
        dict.set_item("session", info.session)?;
        dict.set_item("last_unclean", info.last_unclean)?;
        dict.set_item("durability", durability_text(info.durability))?;
        dict.set_item("acks", durability_text(info.acks))?;
        dict.set_item("interval", info.interval.as_secs_f64())?;
        dict.set_item("memory", info.memory)?;
        dict.set_item("slot", info.slot)?;
        Ok(dict)
    }

    fn objects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for object in detached(py, || self.inner().objects())? {
            let dict = PyDict::new(py);
            dict.set_item("kind", object.kind)?;
            dict.set_item("name", object.name)?;
            dict.set_item("parent", object.parent)?;
            dict.set_item("config", object.config.to_string())?;
            list.append(dict)?;
        }
        Ok(list)
    }

    fn processes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for process in detached(py, || self.inner().processes())? {
            let dict = PyDict::new(py);
            dict.set_item("slot", process.slot)?;
            dict.set_item("pid", process.pid)?;
            dict.set_item("name", process.name)?;
            dict.set_item("state", process.state)?;
            dict.set_item("leases", process.leases)?;
            dict.set_item("beat", process.beat)?;
            dict.set_item("janitor", process.janitor)?;
            dict.set_item("own", process.own)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (kind, name, /))]
    fn delete(&self, py: Python<'_>, kind: &str, name: &str) -> PyResult<()> {
        detached(py, || self.inner().delete(kind, name))
    }

    fn loop_bell(&self, py: Python<'_>) -> PyResult<LoopBell> {
        let inner = self.inner().loop_bell().map_err(|e| to_py(py, e, ""))?;
        Ok(LoopBell { inner })
    }

    /// Wakes this process's own waiters: something that only Python knows has changed.
    fn ring(&self) {
        self.inner().ring_self();
    }

    fn bell(&self) -> u32 {
        self.inner().bell()
    }

    /// Blocks until the bell is not `seen` (True), or the time is over; runs Python's signal handlers.
    #[pyo3(signature = (seen, timeout, /))]
    fn wait_bell(&self, py: Python<'_>, seen: u32, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = timeout.map(|t| Instant::now() + seconds(t));
        loop {
            let slice = Instant::now() + SLICE;
            let until = deadline.map_or(slice, |d| d.min(slice));
            let rung = py.detach(|| self.inner().wait_bell(seen, Some(until)));
            py.check_signals()?;
            if rung || deadline.is_some_and(|d| d <= Instant::now()) {
                return Ok(rung);
            }
        }
    }

    /// The stream, and the options stored before (None: it is new).
    #[pyo3(signature = (name, /, *, retention=None, partitions=None))]
    fn declare_stream<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        retention: Option<(Option<f64>, Option<u64>, Option<u64>)>,
        partitions: Option<u32>,
    ) -> PyResult<(Stream, Option<Bound<'py, PyDict>>)> {
        let config = StreamConfig {
            retention: self::retention(retention),
            partitions,
        };
        let (inner, before) = detached(py, || self.inner().declare_stream(name, &config))?;
        let before = before
            .map(|config| stream_config(py, &config))
            .transpose()?;
        Ok((Stream::new(py, Arc::clone(&self.hub), inner, name), before))
    }

    /// The queue, and the options stored before (None: it is new).
    #[pyo3(signature = (name, /, **options))]
    fn declare_queue<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Queue, Option<Bound<'py, PyDict>>)> {
        let config = queue_config(options)?;
        let (inner, before) = detached(py, || self.inner().declare_queue(name, &config))?;
        let before = before.map(|config| queue_dict(py, &config)).transpose()?;
        Ok((Queue::new(py, Arc::clone(&self.hub), inner, name), before))
    }

    #[pyo3(signature = (name, /))]
    fn open_queue(&self, py: Python<'_>, name: &str) -> PyResult<Queue> {
        let inner = detached(py, || self.inner().open_queue(name))?;
        Ok(Queue::new(py, Arc::clone(&self.hub), inner, name))
    }

    /// A channel, or a pattern of them; stored nowhere.
    #[pyo3(signature = (name, /))]
    fn channel(&self, py: Python<'_>, name: &str) -> PyResult<Channel> {
        Channel::open(py, &self.hub, name)
    }

    #[pyo3(signature = (name, /))]
    fn open_stream(&self, py: Python<'_>, name: &str) -> PyResult<Stream> {
        let inner = detached(py, || self.inner().open_stream(name))?;
        Ok(Stream::new(py, Arc::clone(&self.hub), inner, name))
    }
}

/// One event loop's bell: `fd` turns readable when an armed object rang.
#[pyclass(frozen, module = "headwater._engine")]
pub struct LoopBell {
    inner: InnerBell,
}

#[pymethods]
impl LoopBell {
    #[getter]
    fn fd(&self) -> i32 {
        self.inner.fd()
    }

    fn arm(&self) {
        self.inner.arm();
    }

    fn drain(&self) {
        self.inner.drain();
    }
}
