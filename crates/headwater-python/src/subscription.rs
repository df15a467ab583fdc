//! `Subscription`: the messages of a channel, as they come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_log::channel::{Heard, Subscription as Inner};
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};

use crate::calls::untracked;
use crate::decoding::Decoding;
use crate::errors::to_py;
use crate::hub::{count, Hub, Link};
use crate::iterating::{iterating, Pull, SHORT_SPIN, SPIN};
use crate::message::{Identity, Message};
use crate::ready::ready_none;

struct State {
    inner: Inner,
    /// The last channel heard by a pattern.
    name: Option<(String, Py<PyString>)>,
    /// An error that stands behind messages already handed out in a batch.
    pending: Option<Error>,
}

/// Hears a channel, or all of a pattern, until it is closed.
#[pyclass(frozen, weakref, module = "headwater._engine")]
pub struct Subscription {
    hub: Link,
    decoding: Py<Decoding>,
    waiting: Option<Py<PyAny>>,
    state: Mutex<State>,
    stopped: AtomicBool,
    received: AtomicU64,
}

impl Subscription {
    pub fn new(
        hub: Link,
        decoding: Py<Decoding>,
        waiting: Option<Py<PyAny>>,
        inner: Inner,
    ) -> Self {
        Self {
            hub,
            decoding,
            waiting,
            state: Mutex::new(State {
                inner,
                name: None,
                pending: None,
            }),
            stopped: AtomicBool::new(false),
            received: AtomicU64::new(0),
        }
    }

    /// Never contended for long: nothing that holds it calls Python or lets go of the GIL.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn take<'py>(
        &self,
        py: Python<'py>,
        state: &mut State,
    ) -> PyResult<Result<Option<Bound<'py, PyAny>>, Error>> {
        match state.inner.next() {
            Ok(Some(heard)) => {
                let message = message(py, &heard, &mut state.name, &self.decoding);
                Ok(Ok(Some(untracked(Bound::new(py, message)?).into_any())))
            }
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn count(&self, n: usize) {
        count(&self.received, n);
        count(&self.hub.counters.received, n);
    }
}

#[inline]
fn message(
    py: Python<'_>,
    heard: &Heard<'_>,
    last: &mut Option<(String, Py<PyString>)>,
    decoding: &Py<Decoding>,
) -> Message {
    let name = heard.name.map(|name| match last {
        Some((text, object)) if text == name => object.clone_ref(py),
        _ => {
            let object = PyString::new(py, name).unbind();
            *last = Some((name.to_owned(), object.clone_ref(py)));
            object
        }
    });
    Message {
        raw: PyBytes::new(py, heard.value).unbind(),
        key: heard.key.map(|key| PyBytes::new(py, key).unbind()),
        headers: heard.headers.map(Into::into),
        decoding: decoding.clone_ref(py),
        value: PyOnceLock::new(),
        time_ns: heard.time_ns,
        identity: Identity::Heard {
            name,
            publisher: heard.id.publisher,
            number: heard.id.number,
        },
    }
}

impl Pull for Subscription {
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
        found.map_err(|error| to_py(py, error, ""))
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
                return Err(to_py(py, error, ""));
            }
            state.pending = Some(error);
        }
        this.count(found.len());
        Ok(found)
    }

    fn ask(&self) {
        self.lock().inner.arm();
    }

    fn over(&self) -> bool {
        let state = self.lock();
        self.stopped.load(Ordering::Relaxed) || state.pending.is_none() && state.inner.ended()
    }

    fn spin(slf: &Bound<'_, Self>, patient: bool) -> bool {
        let this = slf.get();
        if this.stopped.load(Ordering::Relaxed) {
            return false;
        }
        if patient {
            // The lock is released before the GIL is asked for again.
            slf.py().detach(|| this.lock().inner.spin(SPIN))
        } else {
            this.lock().inner.spin(SHORT_SPIN)
        }
    }
}

iterating!(Subscription {
    /// Messages that were published to it and not handed out: there was no room for them. Exact.
    #[getter]
    fn dropped(&self) -> u64 {
        self.lock().inner.dropped()
    }

    /// Reconnects in which messages may have been missed: a directory has none.
    #[getter]
    fn gaps(&self) -> u64 {
        0
    }

    /// Messages handed out.
    #[getter]
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Every publisher knows of it already.
    #[pyo3(signature = (peers, timeout, /))]
    fn ready<'py>(
        &self,
        py: Python<'py>,
        peers: u32,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = (peers, timeout);
        ready_none(py)
    }

    /// Nobody publishes to it any more, and who waited for room goes on.
    fn close(&self) {
        self.stop();
        self.lock().inner.close();
    }
});
