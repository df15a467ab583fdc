//! `Reader`: the records of a stream, in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_log::log::RecordRef;
use headwater_log::stream::Reader as Inner;
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::calls::untracked;
use crate::decoding::Decoding;
use crate::errors::to_py;
use crate::hub::{count, Hub, Link};
use crate::iterating::{iterating, Pull, SHORT_SPIN, SPIN};
use crate::message::{Identity, Message};

struct State {
    reader: Inner,
    /// The last handed out, else the one before the first.
    last: u64,
    /// An error that stands behind messages already handed out in a batch.
    pending: Option<Error>,
}

#[pyclass(frozen, weakref, module = "headwater._engine")]
pub struct Reader {
    hub: Link,
    decoding: Py<Decoding>,
    waiting: Option<Py<PyAny>>,
    state: Mutex<State>,
    stopped: AtomicBool,
    received: AtomicU64,
}

/// A record as a message of a stream.
pub fn message(py: Python<'_>, record: &RecordRef<'_>, decoding: &Py<Decoding>) -> Message {
    Message {
        raw: PyBytes::new(py, record.value).unbind(),
        key: record.key.map(|k| PyBytes::new(py, k).unbind()),
        headers: record.headers().map(Into::into),
        decoding: decoding.clone_ref(py),
        value: PyOnceLock::new(),
        time_ns: record.time_ns(),
        identity: Identity::Record {
            seq: record.seq,
            id: record.id().map(Into::into),
        },
    }
}

impl Reader {
    pub fn new(
        hub: Link,
        decoding: Py<Decoding>,
        waiting: Option<Py<PyAny>>,
        reader: Inner,
    ) -> Self {
        let state = State {
            last: reader.next_seq().saturating_sub(1),
            reader,
            pending: None,
        };
        Self {
            hub,
            decoding,
            waiting,
            state: Mutex::new(state),
            stopped: AtomicBool::new(false),
            received: AtomicU64::new(0),
        }
    }

    /// Never contended for long: nothing that holds it calls Python or lets go of the GIL.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take<'py>(
        &self,
        py: Python<'py>,
        state: &mut State,
    ) -> PyResult<Result<Option<Bound<'py, PyAny>>, Error>> {
        match state.reader.next() {
            Ok(Some(record)) => {
                state.last = record.seq;
                Ok(Ok(Some(
                    untracked(Bound::new(py, message(py, &record, &self.decoding))?).into_any(),
                )))
            }
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn count(&self, n: usize) {
        count(&self.received, n);
        count(&self.hub.counters.received, n);
    }

    fn raise(&self, py: Python<'_>, error: Error) -> PyErr {
        to_py(
            py,
            error,
            self.decoding.get().name.to_str(py).unwrap_or_default(),
        )
    }
}

impl Pull for Reader {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn waiting(&self) -> Option<&Py<PyAny>> {
        self.waiting.as_ref()
    }

    fn look<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let mut state = this.lock();
        if this.stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let found = match state.pending.take() {
            Some(error) => Err(error),
            None => this.take(py, &mut state)?,
        };
        drop(state);
        if let Ok(Some(_)) = found {
            this.count(1);
        }
        found.map_err(|e| this.raise(py, e))
    }

    fn look_many<'py>(slf: &Bound<'py, Self>, max: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let mut state = this.lock();
        let mut found = Vec::with_capacity(max.min(1024));
        let mut failed = state.pending.take();
        while failed.is_none() && found.len() < max && !this.stopped.load(Ordering::Relaxed) {
            match this.take(py, &mut state)? {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            if found.is_empty() {
                drop(state);
                return Err(this.raise(py, error));
            }
            state.pending = Some(error);
        }
        this.count(found.len());
        Ok(found)
    }

    fn ask(&self) {
        self.lock().reader.arm();
    }

    fn spin(slf: &Bound<'_, Self>, patient: bool) -> bool {
        let this = slf.get();
        if this.stopped.load(Ordering::Relaxed) {
            return false;
        }
        if patient {
            // The lock is released before the GIL is asked for again.
            slf.py().detach(|| this.lock().reader.spin(SPIN))
        } else {
            this.lock().reader.spin(SHORT_SPIN)
        }
    }

    fn over(&self) -> bool {
        let state = self.lock();
        self.stopped.load(Ordering::Relaxed) || state.pending.is_none() && state.reader.ended()
    }
}

iterating!(Reader {
    /// The position of the last message handed out, else the one before its first.
    #[getter]
    fn position(&self) -> u64 {
        self.lock().last
    }

    /// Messages handed out.
    #[getter]
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.stop();
    }
});
