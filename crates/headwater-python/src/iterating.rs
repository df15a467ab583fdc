//! What readers, consumers and subscriptions have in common: looking, waiting, ending.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;

use crate::hub::{now_ns, seconds, Hub};
use crate::ready::{ready, ready_none};

/// Signals are delivered to Python between two sleeps of at most this.
pub const SLICE: Duration = Duration::from_millis(300);
/// How long a thread looks for the next message before it sleeps.
pub const SPIN: Duration = Duration::from_micros(50);
/// The same in an event loop, which has other things to do: as long as a turn of it.
pub const SHORT_SPIN: Duration = Duration::from_micros(3);

pub trait Pull: pyo3::PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync {
    fn hub(&self) -> &Hub;
    fn waiting(&self) -> Option<&Py<PyAny>>;
    /// The next one, if there is one now; never sleeps.
    fn look<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>>;
    fn look_many<'py>(slf: &Bound<'py, Self>, max: usize) -> PyResult<Vec<Bound<'py, PyAny>>>;
    fn ask(&self);
    fn due_ns(&self) -> Option<i64> {
        None
    }
    fn over(&self) -> bool;
    /// Looks for the next one in a busy loop, where it is likely to come before a sleep would be over; true: look again.
    /// `patient`: a thread has nothing else to do.
    fn spin(_slf: &Bound<'_, Self>, _patient: bool) -> bool {
        false
    }
}

/// `look` after a short while.
#[inline]
fn soon<'py, P: Pull>(slf: &Bound<'py, P>, patient: bool) -> PyResult<Option<Bound<'py, PyAny>>> {
    if P::spin(slf, patient) {
        return P::look(slf);
    }
    Ok(None)
}

/// Blocks until there is something (None: the time is over, or it ended).
pub fn next<'py, P: Pull>(
    slf: &Bound<'py, P>,
    timeout: Option<f64>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(found) = P::look(slf)? {
        return Ok(Some(found));
    }
    if timeout.is_none_or(|t| t > 0.0) {
        if let Some(found) = soon(slf, true)? {
            return Ok(Some(found));
        }
    }
    let (py, pull) = (slf.py(), slf.get());
    let deadline = timeout.map(|t| Instant::now() + seconds(t));
    loop {
        let engine = &pull.hub().engine;
        let seen = engine.bell();
        pull.ask();
        if let Some(found) = P::look(slf)? {
            return Ok(Some(found));
        }
        if pull.over() || deadline.is_some_and(|d| d <= Instant::now()) {
            return Ok(None);
        }
        let slice = Instant::now() + pull.due_ns().map_or(SLICE, |due| until(due).min(SLICE));
        let until = deadline.map_or(slice, |d| d.min(slice));
        py.detach(|| engine.wait_bell(seen, Some(until)));
        py.check_signals()?;
    }
}

fn until(due_ns: i64) -> Duration {
    // Not below a tenth of a millisecond: what is due in a moment would otherwise be asked for in a busy loop.
    Duration::from_nanos(due_ns.saturating_sub(now_ns()).max(100_000) as u64)
}

fn waiter<P: Pull>(pull: &P) -> PyResult<&Py<PyAny>> {
    pull.waiting()
        .ok_or_else(|| PyRuntimeError::new_err("this iterator belongs to a synchronous connection"))
}

/// An awaitable of the next one, or of None.
pub fn anext<'py, P: Pull>(
    slf: &Bound<'py, P>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, pull) = (slf.py(), slf.get());
    if let Some(found) = P::look(slf)? {
        return ready(py, found);
    }
    if pull.over() || timeout.is_some_and(|t| t <= 0.0) {
        return ready_none(py);
    }
    if let Some(found) = soon(slf, false)? {
        return ready(py, found);
    }
    waiter(pull)?.bind(py).call_method1("next", (slf, timeout))
}

/// `__anext__`.
pub fn step<'py, P: Pull>(slf: &Bound<'py, P>) -> PyResult<Bound<'py, PyAny>> {
    let (py, pull) = (slf.py(), slf.get());
    if let Some(found) = P::look(slf)? {
        return ready(py, found);
    }
    if pull.over() {
        return Err(PyStopAsyncIteration::new_err(()));
    }
    if let Some(found) = soon(slf, false)? {
        return ready(py, found);
    }
    waiter(pull)?.bind(py).call_method1("step", (slf,))
}

/// The methods of the protocol, beside the type's own.
macro_rules! iterating {
    ($type:ident { $($own:tt)* }) => {
        #[pymethods]
        impl $type {
            $($own)*

            #[pyo3(signature = ())]
            fn poll<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                $crate::iterating::Pull::look(slf)
            }

            #[pyo3(signature = (max, /))]
            fn poll_many<'py>(slf: &Bound<'py, Self>, max: usize) -> PyResult<Bound<'py, pyo3::types::PyList>> {
                pyo3::types::PyList::new(slf.py(), $crate::iterating::Pull::look_many(slf, max)?)
            }

            fn arm(&self) {
                $crate::iterating::Pull::ask(self);
            }

            fn next_due_ns(&self) -> Option<i64> {
                $crate::iterating::Pull::due_ns(self)
            }

            #[getter]
            fn ended(&self) -> bool {
                $crate::iterating::Pull::over(self)
            }

            fn stop(&self) {
                self.stopped.store(true, std::sync::atomic::Ordering::SeqCst);
                $crate::iterating::Pull::hub(self).engine.ring_self();
            }

            #[pyo3(signature = (timeout=None))]
            fn next<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
                $crate::iterating::next(slf, timeout)
            }

            #[pyo3(signature = (max=1000, wait=0.0))]
            fn next_many<'py>(slf: &Bound<'py, Self>, max: usize, wait: f64) -> PyResult<Bound<'py, pyo3::types::PyList>> {
                let mut found = $crate::iterating::Pull::look_many(slf, max)?;
                if found.is_empty() && wait > 0.0 && max > 0 {
                    if let Some(first) = $crate::iterating::next(slf, Some(wait))? {
                        found.push(first);
                        found.extend($crate::iterating::Pull::look_many(slf, max - 1)?);
                    }
                }
                pyo3::types::PyList::new(slf.py(), found)
            }

            #[pyo3(signature = (timeout=None))]
            fn anext<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
                $crate::iterating::anext(slf, timeout)
            }

            fn __iter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
                slf.clone()
            }

            fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                $crate::iterating::next(slf, None)
            }

            fn __aiter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
                slf.clone()
            }

            fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                $crate::iterating::step(slf)
            }
        }
    };
}
pub(crate) use iterating;
