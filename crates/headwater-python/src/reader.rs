//! `Reader`: the records of a stream, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_log::{Reader as Inner, RecordRef};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::decoding::Decoding;
use crate::errors::to_py;
use crate::hub::{Hub, Link};
use crate::iterating::{iterating, Pull};
use crate::message::{Identity, Message};

pub struct State {
    pub reader: Inner,
    pub follow: bool,
    /// Without `follow`: the first position that was not there yet at the call.
    pub cut: u64,
    pub last: Option<u64>,
    pub finished: bool,
}

#[pyclass(frozen, module = "headwater._engine")]
pub struct Reader {
    hub: Link,
    decoding: Py<Decoding>,
    waiting: Option<Py<PyAny>>,
    state: Mutex<State>,
    stopped: AtomicBool,
}

/// A record as a message of a stream.
pub fn message(py: Python<'_>, record: &RecordRef<'_>, decoding: &Py<Decoding>) -> Message {
    Message {
        raw: PyBytes::new(py, record.value).unbind(),
        key: record.key.map(|k| PyBytes::new(py, k).unbind()),
        headers: record.headers.map(Into::into),
        decoding: decoding.clone_ref(py),
        value: PyOnceLock::new(),
        time_ns: record.time_ns(),
        identity: Identity::Record { seq: record.seq, id: record.id.map(Into::into) },
    }
}

impl Reader {
    pub fn new(hub: Link, decoding: Py<Decoding>, waiting: Option<Py<PyAny>>, state: State) -> Self {
        Self { hub, decoding, waiting, state: Mutex::new(state), stopped: AtomicBool::new(false) }
    }

    /// Never contended for long: nothing that holds it calls Python or lets go of the GIL.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take<'py>(&self, py: Python<'py>, state: &mut State) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = state.reader.next().map_err(|e| to_py(py, e, self.decoding.get().name.to_str(py).unwrap_or_default()))?;
        match found {
            Some(record) if record.seq < state.cut => {
                state.last = Some(record.seq);
                Ok(Some(Bound::new(py, message(py, &record, &self.decoding))?.into_any()))
            }
            Some(_) => {
                state.finished = true;
                Ok(None)
            }
            None => {
                state.finished |= !state.follow || state.reader.ended();
                Ok(None)
            }
        }
    }
}

impl Pull for Reader {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn waiting(&self) -> Option<&Py<PyAny>> {
        self.waiting.as_ref()
    }

    fn look<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut state = self.lock();
        if state.finished || self.stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.take(py, &mut state)
    }

    fn look_many<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut state = self.lock();
        let mut found = Vec::with_capacity(max.min(1024));
        while found.len() < max && !state.finished && !self.stopped.load(Ordering::Relaxed) {
            match self.take(py, &mut state) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                // The error comes again at the next call, when nothing stands before it.
                Err(_) if !found.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn ask(&self) {
        self.lock().reader.arm();
    }

    fn over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.lock().finished
    }
}

iterating!(Reader {
    /// The position of the last message handed out; None before the first.
    #[getter]
    fn position(&self) -> Option<u64> {
        self.lock().last
    }

    fn close(&self) {
        self.stop();
    }
});
