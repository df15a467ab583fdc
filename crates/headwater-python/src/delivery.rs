//! `Delivery`: a message in hand. Unsettled when its last reference goes, it gives itself back.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use headwater_log::group::{Source as Inner, Ticket};
use headwater_log::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyNone, PyType};

use crate::block::{leave, Handled};
use crate::calls::datetime;
use crate::consumer::Consumer;
use crate::errors::{to_py, usage};
use crate::hub::{count, now_ns, seconds, Later};
use crate::message::{keyword, only, Message};
use crate::ready::{drive, failed, ready, ready_none};
use crate::source::lost;

/// Who gave it out.
pub enum Holder {
    Engine {
        consumer: Py<Consumer>,
        ticket: Ticket,
    },
    /// Another backend: an object with the methods of `Settling`, and what it knows the delivery by.
    Python {
        source: Option<Py<PyAny>>,
        token: Option<Py<PyAny>>,
    },
}

/// A message in hand. Enter it (`async with`): leaving without an exception acknowledges, with one settles by the retry policy and
/// raises on. Dropping the last reference unsettled gives it back at once.
#[pyclass(frozen, subclass, generic, extends = Message, module = "headwater._engine")]
pub struct Delivery {
    pub holder: Holder,
    pub attempt: u32,
    pub lease_until_ns: AtomicI64,
    pub settled: AtomicBool,
}

impl Delivery {
    /// The ticket, if this is the first to settle the delivery.
    pub fn claim_settling(&self) -> Option<Ticket> {
        match &self.holder {
            Holder::Engine { ticket, .. } if !self.settled.swap(true, Ordering::AcqRel) => {
                Some(*ticket)
            }
            _ => None,
        }
    }

    pub fn begin(&self, py: Python<'_>) -> PyResult<Ticket> {
        self.claim_settling().ok_or_else(|| {
            usage(
                py,
                "this delivery is settled already, or belongs to another engine",
            )
        })
    }

    /// After an attempt to settle. Some(true): it is settled. Some(false): its lease was lost before, so that it is in nobody's hand
    /// here, and every later attempt says so too. None: the engine failed, and it is still in hand.
    pub fn finish(&self, kept: Option<bool>) {
        if let Holder::Engine { consumer, ticket } = &self.holder {
            if kept.is_some() {
                consumer.get().forget(ticket);
            }
            if kept != Some(true) {
                self.settled.store(false, Ordering::Release);
            }
        }
    }

    /// Settles by `work`, which says whether the lease still held.
    pub fn settle(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Inner, Ticket) -> Result<bool, Error> + Send,
    ) -> PyResult<()> {
        self.settle_quickly(py, |_, _| Err(Error::WouldBlock), work)
    }

    /// The same; `quick` is tried before, with the GIL held.
    #[inline]
    fn settle_quickly(
        &self,
        py: Python<'_>,
        quick: impl FnOnce(&Inner, Ticket) -> Result<bool, Error>,
        work: impl FnOnce(&Inner, Ticket) -> Result<bool, Error> + Send,
    ) -> PyResult<()> {
        let ticket = self.begin(py)?;
        let Holder::Engine { consumer, .. } = &self.holder else {
            return Ok(());
        };
        let source = &consumer.get().source;
        let done = match quick(source, ticket) {
            Err(Error::WouldBlock) => py.detach(|| work(source, ticket)),
            done => done,
        };
        self.finish(done.as_ref().ok().copied());
        match done {
            Ok(true) => Ok(()),
            Ok(false) => Err(to_py(
                py,
                Error::LeaseLost {
                    what: format!("message {}-{}", ticket.lane, ticket.seq),
                },
                "",
            )),
            Err(error) => Err(to_py(py, error, "")),
        }
    }

    /// With the GIL held, where that takes no time.
    pub fn ack_now(&self, py: Python<'_>) -> PyResult<()> {
        self.settle_quickly(
            py,
            |source, ticket| source.try_ack_one(ticket),
            |source, ticket| source.ack_one(ticket),
        )?;
        if let Holder::Engine { consumer, .. } = &self.holder {
            count(&consumer.get().hub.counters.acked, 1);
        }
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if *self.settled.get_mut() {
            return;
        }
        match &self.holder {
            Holder::Engine { consumer, ticket } => {
                let consumer = consumer.get();
                if consumer.forget(ticket) {
                    consumer.source.give_back_later(*ticket);
                }
            }
            Holder::Python {
                source: Some(source),
                token,
            } => Python::attach(|py| {
                // A destructor may run while an exception is on its way.
                let raised = PyErr::take(py);
                let token = token
                    .as_ref()
                    .map_or_else(|| py.None(), |t| t.clone_ref(py));
                if let Err(error) = source.bind(py).call_method1("give_back", (token,)) {
                    error.write_unraisable(py, Some(source.bind(py)));
                }
                if let Some(raised) = raised {
                    raised.restore(py);
                }
            }),
            Holder::Python { source: None, .. } => {}
        }
    }
}

/// One way to settle.
enum Settling {
    Ack,
    /// After so many seconds; None: as the stored policy says.
    Retry(Option<f64>),
    Reject(String),
}

impl Delivery {
    fn is_sync(&self) -> bool {
        matches!(&self.holder, Holder::Engine { consumer, .. } if consumer.get().sync)
    }

    fn work(&self, py: Python<'_>, how: &Settling) -> PyResult<()> {
        match how {
            Settling::Ack => self.ack_now(py),
            Settling::Retry(delay) => self.nack(py, *delay),
            Settling::Reject(reason) => {
                self.settle(py, |source, ticket| source.reject(ticket, reason, None))
            }
        }
    }

    /// Settles: at once for a synchronous connection, in a thread where it has to wait for the disk, else now, with a result that is
    /// ready.
    fn answer<'py>(slf: &Bound<'py, Self>, how: Settling) -> PyResult<Bound<'py, PyAny>> {
        Self::begin_answer(slf, how).or_else(|error| slf.get().fail(slf.py(), error))
    }

    /// An asynchronous method fails where it is awaited.
    fn fail<'py>(&self, py: Python<'py>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
        if self.is_sync() {
            return Err(error);
        }
        failed(py, error)
    }

    fn begin_answer<'py>(slf: &Bound<'py, Self>, how: Settling) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let Holder::Engine { consumer, .. } = &this.holder else {
            return Err(usage(py, "this delivery belongs to no source"));
        };
        let consumer = consumer.get();
        match &consumer.waiting {
            Some(waiting) if consumer.hub.always && !consumer.sync => {
                let kept = slf.clone().unbind();
                let later = Later::new(move |py| kept.get().work(py, &how).map(|()| py.None()));
                waiting.bind(py).call_method1("call", (later,))
            }
            _ => {
                this.work(py, &how)?;
                if consumer.sync {
                    Ok(PyNone::get(py).to_owned().into_any())
                } else {
                    ready_none(py)
                }
            }
        }
    }

    /// The acknowledgement at a block's end: what fails is told to the hooks.
    pub fn ack_quietly(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Err(failure) = this.ack_now(py) else {
            return Ok(());
        };
        let hooks = match &this.holder {
            Holder::Engine { consumer, .. } => consumer.get().hooks.as_ref(),
            Holder::Python { .. } => None,
        };
        match hooks {
            Some(hooks) if failure.is_instance_of::<PyException>(py) => hooks
                .bind(py)
                .call_method1("on_lost", (slf, failure.into_value(py)))
                .map(drop),
            _ => Err(failure),
        }
    }
}

#[pymethods]
impl Delivery {
    #[new]
    #[classmethod]
    #[pyo3(signature = (**kwargs))]
    fn new(
        cls: &Bound<'_, PyType>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let py = cls.py();
        only(
            cls,
            &py.get_type::<Self>(),
            kwargs,
            &["source", "token", "attempt", "lease_until_ns"],
        )?;
        let this = Self {
            holder: Holder::Python {
                source: keyword(kwargs, "source")?,
                token: keyword(kwargs, "token")?,
            },
            attempt: keyword(kwargs, "attempt")?.unwrap_or(1),
            lease_until_ns: AtomicI64::new(keyword(kwargs, "lease_until_ns")?.unwrap_or(0)),
            settled: AtomicBool::new(false),
        };
        Ok(PyClassInitializer::from(Message::given(py, kwargs)?).add_subclass(this))
    }

    /// How often it was delivered, this time included.
    #[getter]
    fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the lease ends at the latest known time; it is renewed while this object and its process live.
    #[getter]
    fn lease_until<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.lease_until_ns.load(Ordering::Relaxed))
    }

    /// Whether it was acknowledged, retried or rejected.
    #[getter]
    fn settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// What the backend gave at construction.
    #[getter]
    fn token(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &self.holder {
            Holder::Python { token, .. } => token.as_ref().map(|t| t.clone_ref(py)),
            Holder::Engine { .. } => None,
        }
    }

    /// Who gave it out.
    #[getter]
    fn source(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &self.holder {
            Holder::Python { source, .. } => source.as_ref().map(|s| s.clone_ref(py)),
            Holder::Engine { consumer, .. } => Some(consumer.clone_ref(py).into_any()),
        }
    }

    /// For backends: True the first time.
    fn mark_settled(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    /// Done: it never comes again once this returns. Raises LeaseLostError where it came too late; then nothing was changed.
    fn ack<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if let Holder::Python {
            source: Some(source),
            ..
        } = &slf.get().holder
        {
            return source.bind(slf.py()).call_method1("ack", (slf,));
        }
        Self::answer(slf, Settling::Ack)
    }

    /// Tries again after `delay`, seconds or timedelta; None: as the stored policy says. The attempt counts. Raises LeaseLostError.
    #[pyo3(signature = (delay=None))]
    fn retry<'py>(
        slf: &Bound<'py, Self>,
        delay: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Holder::Python {
            source: Some(source),
            ..
        } = &slf.get().holder
        {
            return source.bind(slf.py()).call_method1("retry", (slf, delay));
        }
        let pause = match delay.as_ref().map(in_seconds).transpose() {
            Ok(pause) => pause,
            Err(error) => return slf.get().fail(slf.py(), error),
        };
        Self::answer(slf, Settling::Retry(pause))
    }

    /// Makes it a dead letter at once, with this reason. Raises LeaseLostError.
    fn reject<'py>(slf: &Bound<'py, Self>, reason: &str) -> PyResult<Bound<'py, PyAny>> {
        if let Holder::Python {
            source: Some(source),
            ..
        } = &slf.get().holder
        {
            return source.bind(slf.py()).call_method1("reject", (slf, reason));
        }
        Self::answer(slf, Settling::Reject(reason.to_owned()))
    }

    /// The lease lasts `seconds` (or a timedelta) from now at least. Raises LeaseLostError.
    fn extend<'py>(
        slf: &Bound<'py, Self>,
        seconds: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        match &this.holder {
            Holder::Python { source, .. } => match source {
                Some(source) => source.bind(py).call_method1("extend", (slf, seconds)),
                None => Err(usage(py, "this delivery belongs to no source")),
            },
            Holder::Engine { consumer, ticket } => {
                let done = in_seconds(&seconds).and_then(|by| {
                    this.prolong(slf, &consumer.get().source, *ticket, self::seconds(by))
                });
                match done {
                    Ok(()) if this.is_sync() => Ok(PyNone::get(py).to_owned().into_any()),
                    Ok(()) => ready_none(py),
                    Err(error) => this.fail(py, error),
                }
            }
        }
    }

    /// A block like the delivery's own, that logs and counts an exception and goes on instead of raising it.
    fn handled(slf: &Bound<'_, Self>) -> Handled {
        Handled::of(slf)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        ready(slf.py(), slf.clone().into_any())
    }

    #[pyo3(signature = (_kind, error, _trace, /))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        error: Option<&Bound<'py, PyAny>>,
        _trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        leave(slf, error, false)
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    #[pyo3(signature = (_kind, error, _trace, /))]
    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        error: Option<&Bound<'py, PyAny>>,
        _trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        drive(slf.py(), &leave(slf, error, false)?)
    }
}

impl Delivery {
    fn nack(&self, py: Python<'_>, delay: Option<f64>) -> PyResult<()> {
        let nack = headwater_log::group::Nack {
            delay: delay.map(seconds),
            counted: true,
            error: None,
        };
        self.settle(py, |source, ticket| {
            source
                .nack(ticket, &nack)
                .map(|outcome| !matches!(outcome, headwater_log::group::NackOutcome::LeaseLost))
        })
    }

    fn prolong(
        &self,
        slf: &Bound<'_, Self>,
        source: &Inner,
        ticket: Ticket,
        by: Duration,
    ) -> PyResult<()> {
        let py = slf.py();
        if self.settled.load(Ordering::Acquire) {
            return Err(usage(py, "this delivery is settled already"));
        }
        match py.detach(|| source.extend(ticket, by)) {
            Ok(true) => {
                let until = now_ns().saturating_add(by.as_nanos() as i64);
                self.lease_until_ns.fetch_max(until, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => Err(lost(py, slf)),
            Err(error) => Err(to_py(py, error, "")),
        }
    }
}

/// Seconds from a number or a timedelta.
fn in_seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let found: PyResult<f64> = value
        .extract()
        .or_else(|_| value.call_method0("total_seconds")?.extract());
    match found {
        Ok(seconds) if seconds >= 0.0 && seconds.is_finite() => Ok(seconds),
        _ => Err(usage(
            value.py(),
            &format!("a number of seconds from 0, or a timedelta, is expected, not {value:?}"),
        )),
    }
}
