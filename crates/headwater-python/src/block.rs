//! The end of a delivery's block: settles what is not settled.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::delivery::{Delivery, Holder};
use crate::hub::Later;
use crate::ready::{drive, ready};

/// Leaves the block of `slf` by `error`, or in order. An awaitable of whether the exception ends here.
pub fn leave<'py>(
    slf: &Bound<'py, Delivery>,
    error: Option<&Bound<'py, PyAny>>,
    handled: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (slf.py(), slf.get());
    let (consumer, sync) = match &this.holder {
        Holder::Python { source, .. } => {
            let Some(source) = source else {
                return ready(py, PyBool::new(py, false).to_owned().into_any());
            };
            return source.bind(py).call_method1("leave", (slf, error, handled));
        }
        Holder::Engine { consumer, .. } => (consumer.get(), consumer.get().sync),
    };
    let no = || ready(py, PyBool::new(py, false).to_owned().into_any());
    match (error, &consumer.hooks) {
        (Some(error), Some(hooks)) => hooks
            .bind(py)
            .call_method1("on_error", (slf, error, handled)),
        _ if this.settled.load(Ordering::Acquire) => no(),
        (Some(_), None) => {
            this.settle(py, |source, ticket| {
                source
                    .nack(
                        ticket,
                        &headwater_log::group::Nack {
                            counted: true,
                            ..Default::default()
                        },
                    )
                    .map(|_| true)
            })?;
            no()
        }
        (None, _) => {
            if let (Some(waiting), true, false) = (&consumer.waiting, consumer.hub.always, sync) {
                let kept = slf.clone().unbind();
                let later = Later::new(move |py| {
                    Delivery::ack_quietly(kept.bind(py))?;
                    Ok(PyBool::new(py, false).to_owned().into_any().unbind())
                });
                return waiting.bind(py).call_method1("call", (later,));
            }
            Delivery::ack_quietly(slf)?;
            no()
        }
    }
}

/// `delivery.handled()`: like the delivery's own block, but errors stay in it.
#[pyclass(frozen, generic, module = "headwater._engine")]
pub struct Handled {
    delivery: Py<Delivery>,
}

impl Handled {
    pub fn of(delivery: &Bound<'_, Delivery>) -> Self {
        Self {
            delivery: delivery.clone().unbind(),
        }
    }
}

#[pymethods]
impl Handled {
    fn __aenter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ready(py, self.delivery.bind(py).clone().into_any())
    }

    #[pyo3(signature = (_kind, error, _trace, /))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        _kind: &Bound<'py, PyAny>,
        error: Option<&Bound<'py, PyAny>>,
        _trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        leave(self.delivery.bind(py), error, true)
    }

    fn __enter__(&self, py: Python<'_>) -> Py<Delivery> {
        self.delivery.clone_ref(py)
    }

    #[pyo3(signature = (_kind, error, _trace, /))]
    fn __exit__<'py>(
        &self,
        py: Python<'py>,
        _kind: &Bound<'py, PyAny>,
        error: Option<&Bound<'py, PyAny>>,
        _trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        drive(py, &leave(self.delivery.bind(py), error, true)?)
    }
}
