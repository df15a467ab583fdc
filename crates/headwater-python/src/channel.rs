//! `Channel`: publishing, and how a publish waits for room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use headwater_log::channel::{pattern, Channel as Inner, Overflow, Pending, Publication, Sent};
use headwater_log::log::Record;
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::calls::text_or_bytes;
use crate::decoding::Decoding;
use crate::errors::{to_py, usage};
use crate::headers::BYTES;
use crate::hub::{detached, Hub, Link};
use crate::iterating::{self, iterating, Pull};
use crate::ready::ready;
use crate::subscription::Subscription;
use crate::writing::Writing;

/// Above this a message is copied with the GIL released.
const LARGE: usize = 64 << 10;
/// A reader in a hurry empties half of its buffer in this time; a sleep takes as long.
const SPIN: Duration = Duration::from_micros(50);

/// A channel, or a pattern of them, which can only be subscribed to.
#[pyclass(frozen, module = "headwater._engine")]
pub struct Channel {
    hub: Link,
    /// None: a pattern.
    inner: Option<Arc<Inner>>,
    name: Py<PyString>,
    writing: Arc<Writing>,
}

impl Channel {
    pub fn open(py: Python<'_>, hub: &Link, name: &str) -> PyResult<Self> {
        let raise = |error| to_py(py, error, "");
        let inner = if pattern::is_pattern(name) {
            pattern::validate(name).map_err(raise)?;
            None
        } else {
            Some(Arc::new(hub.engine.channel(name).map_err(raise)?))
        };
        Ok(Self {
            hub: Arc::clone(hub),
            inner,
            name: PyString::new(py, name).unbind(),
            writing: Arc::new(Writing::bytes()),
        })
    }

    #[inline]
    fn send(
        &self,
        value: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        content_type: Option<&str>,
    ) -> PyResult<Sent> {
        let py = value.py();
        self.hub.check(py)?;
        let Some(inner) = &self.inner else {
            let name = self.name.to_str(py)?;
            return Err(usage(
                py,
                &format!("{name:?} is a pattern: publish to one name"),
            ));
        };
        let data = self.writing.encode(value, content_type.is_some())?;
        let headers = self.writing.headers(headers, content_type)?;
        let record = Record {
            value: data.as_bytes(),
            key: key.map(text_or_bytes).transpose()?,
            headers: match &headers {
                None => self.writing.plain(),
                Some(headers) => (!headers.is_empty()).then_some(headers),
            },
            ..Record::default()
        };
        self.writing.check(py, &record)?;
        let body = Publication {
            value: record.value,
            key: record.key,
            headers: record.headers,
            time_ns: None,
        };
        if body.value.len() > LARGE {
            return detached(py, || inner.try_publish(&body));
        }
        inner.try_publish(&body).map_err(|e| to_py(py, e, ""))
    }

    #[cold]
    fn later<'py>(&self, py: Python<'py>, pending: Pending) -> PyResult<Bound<'py, Publishing>> {
        Bound::new(
            py,
            Publishing {
                hub: Arc::clone(&self.hub),
                deadline: self.hub.deadline(),
                state: Mutex::new(Waiting {
                    pending,
                    reached: None,
                }),
                stopped: std::sync::atomic::AtomicBool::new(false),
            },
        )
    }
}

#[pymethods]
impl Channel {
    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyString> {
        self.name.clone_ref(py)
    }

    /// The same channel, with the content type and encoder of what is published, and the waiter of `apublish`.
    #[pyo3(signature = (*, content_type=BYTES, encode=None, waiting=None))]
    fn bind(
        &self,
        py: Python<'_>,
        content_type: &str,
        encode: Option<Py<PyAny>>,
        waiting: Option<Py<PyAny>>,
    ) -> Self {
        let writing = Writing::new(content_type, encode, waiting).limited(self.hub.limit);
        Self {
            hub: Arc::clone(&self.hub),
            inner: self.inner.clone(),
            name: self.name.clone_ref(py),
            writing: Arc::new(writing),
        }
    }

    /// Hands a message to whoever listens now; answers the subscriptions reached. Blocks where one of them holds its publishers
    /// and has no room: OperationTimeoutError after the connection's `op_timeout`.
    #[pyo3(signature = (value, /, *, key=None, headers=None, content_type=None))]
    fn publish(
        &self,
        value: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        content_type: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let py = value.py();
        match self.send(value, key, headers, content_type)? {
            Sent::Done(reached) => Ok(reached.into_pyobject(py)?.into_any().unbind()),
            Sent::Pending(pending) => {
                let publishing = self.later(py, pending)?;
                // Only the deadline ends it, by an error.
                let found = iterating::next(&publishing, None)?;
                Ok(found.map_or_else(|| py.None(), Bound::unbind))
            }
        }
    }

    /// `publish` for an event loop: an awaitable.
    #[pyo3(signature = (value, /, *, key=None, headers=None, content_type=None))]
    fn apublish<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        content_type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        match self.send(value, key, headers, content_type)? {
            Sent::Done(reached) => ready(py, reached.into_pyobject(py)?.into_any()),
            Sent::Pending(pending) => {
                let publishing = self.later(py, pending)?;
                match &self.writing.waiting {
                    Some(waiting) => waiting.bind(py).call_method1("next", (publishing,)),
                    None => Err(usage(py, "a channel without a waiter cannot be awaited")),
                }
            }
        }
    }

    /// Listens to the name or pattern; every later publish is heard. Makes a file: not for an event loop's own thread.
    #[pyo3(signature = (decoding, *, buffer=1024, overflow="drop_oldest", waiting=None))]
    fn subscribe(
        &self,
        py: Python<'_>,
        decoding: Py<Decoding>,
        buffer: u64,
        overflow: &str,
        waiting: Option<Py<PyAny>>,
    ) -> PyResult<Subscription> {
        let policy = match overflow {
            "drop_oldest" => Overflow::DropOldest,
            "drop_newest" => Overflow::DropNewest,
            "block" => Overflow::Block,
            "error" => Overflow::Error,
            other => {
                return Err(usage(
                    py,
                    &format!(
                        "overflow={other:?}: it is \"drop_oldest\", \"drop_newest\", \"block\" or \"error\""
                    ),
                ))
            }
        };
        let name = self.name.to_str(py)?;
        let inner = detached(py, || self.hub.engine.subscribe(name, buffer, policy))?;
        Ok(Subscription::new(
            Arc::clone(&self.hub),
            decoding,
            waiting,
            inner,
        ))
    }
}

struct Waiting {
    pending: Pending,
    reached: Option<usize>,
}

/// A publish that waits for room; what waits for messages waits for it too: `poll` answers the subscriptions reached, in the end.
#[pyclass(frozen, module = "headwater._engine")]
pub struct Publishing {
    hub: Link,
    deadline: Instant,
    state: Mutex<Waiting>,
    stopped: std::sync::atomic::AtomicBool,
}

impl Publishing {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pull for Publishing {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn waiting(&self) -> Option<&Py<PyAny>> {
        None
    }

    fn look<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let mut state = this.lock();
        let found = match state.reached {
            Some(reached) => Ok(Some(reached)),
            None => match state.pending.poll() {
                Ok(None) if Instant::now() >= this.deadline => Err(state.pending.timeout()),
                found => found,
            },
        };
        let found: Result<Option<usize>, Error> = found;
        state.reached = found.as_ref().ok().copied().flatten();
        drop(state);
        match found {
            Ok(Some(reached)) => Ok(Some(reached.into_pyobject(py)?.into_any())),
            Ok(None) => Ok(None),
            Err(error) => Err(to_py(py, error, "")),
        }
    }

    fn look_many<'py>(slf: &Bound<'py, Self>, _max: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        Ok(Self::look(slf)?.into_iter().collect())
    }

    fn ask(&self) {
        self.lock().pending.arm();
    }

    fn due_ns(&self) -> Option<i64> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let pause = self.lock().pending.pause().min(left);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as i64);
        Some(now + pause.as_nanos() as i64)
    }

    fn over(&self) -> bool {
        false
    }

    fn spin(slf: &Bound<'_, Self>, patient: bool) -> bool {
        let this = slf.get();
        patient && slf.py().detach(|| this.lock().pending.spin(SPIN))
    }
}

iterating!(Publishing {});
