//! What all objects of one connection share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use headwater_log::options::Durability;
use headwater_log::{Engine, Error};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::to_py;

/// What a connection did, for `metrics()`.
#[derive(Default)]
pub struct Counters {
    /// Records of streams, by the quick way.
    pub appended: AtomicU64,
    /// Messages handed out.
    pub received: AtomicU64,
    pub acked: AtomicU64,
}

/// Counts under the GIL, so that no other writer comes between: a plain store costs nothing, an atomic addition 5 ns.
#[inline]
pub fn count(counter: &AtomicU64, n: usize) {
    counter.store(
        counter.load(Ordering::Relaxed) + n as u64,
        Ordering::Relaxed,
    );
}

/// One opened directory, and how long its operations may wait.
pub struct Hub {
    pub engine: Engine,
    pub op_timeout: Duration,
    /// Acknowledged after fsync: an append has to wait for one.
    pub always: bool,
    /// The largest message of this connection, bytes; others of the directory may have other limits.
    pub limit: u64,
    pub counters: Arc<Counters>,
}

pub type Link = Arc<Hub>;

impl Hub {
    pub fn new(engine: Engine, op_timeout: f64, limit: u64, counters: Arc<Counters>) -> Link {
        let always = engine.info().acks == Durability::Always;
        Arc::new(Self {
            engine,
            op_timeout: seconds(op_timeout),
            always,
            limit,
            counters,
        })
    }

    /// Errors: ClosedError, ForkedError. Others may have the same directory open in this process: the engine itself goes on.
    #[inline]
    pub fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.check().map_err(|error| to_py(py, error, ""))
    }

    pub fn deadline(&self) -> Instant {
        Instant::now() + self.op_timeout
    }
}

/// Ns since 1970 UTC.
pub fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as i64)
}

/// A duration from Python; what is too long for one is a year.
pub fn seconds(value: f64) -> Duration {
    const YEAR: f64 = 31_536_000.0;
    Duration::from_secs_f64(if value >= 0.0 { value.min(YEAR) } else { 0.0 })
}

/// Runs `work` with the GIL released, and maps its error.
pub fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|e| to_py(py, e, ""))
}

/// The same where positions in errors belong to a stream.
pub fn detached_in<T: Send>(
    py: Python<'_>,
    stream: &Py<PyString>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    py.detach(work)
        .map_err(|e| to_py(py, e, stream.to_str(py).unwrap_or_default()))
}

/// Something that has to wait, for a thread to call: what an operation in an event loop hands to its waiter.
#[pyclass(frozen, module = "headwater._engine")]
pub struct Later {
    #[allow(clippy::type_complexity)] // a boxed closure has no shorter name
    work: Box<dyn Fn(Python<'_>) -> PyResult<Py<PyAny>> + Send + Sync>,
}

impl Later {
    pub fn new(work: impl Fn(Python<'_>) -> PyResult<Py<PyAny>> + Send + Sync + 'static) -> Self {
        Self {
            work: Box::new(work),
        }
    }
}

#[pymethods]
impl Later {
    fn __call__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        (self.work)(py)
    }
}
