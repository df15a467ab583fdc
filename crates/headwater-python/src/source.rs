//! `Source`: a group, or the work of a queue.

use std::sync::Arc;

use headwater_log::group::{
    DeadLetter, ErrorNote, JobId, Nack, NackOutcome, SeekTo, Source as Inner, Ticket,
};
use headwater_log::log::Record;
use headwater_log::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::consumer::Consumer;
use crate::convert::{group_config, group_dict};
use crate::decoding::Decoding;
use crate::delivery::Delivery;
use crate::errors::{raise, usage};
use crate::headers::{self, ContentType};
use crate::hub::{count, detached, seconds, Link};
use crate::message::{Identity, Message};

#[pyclass(frozen, module = "headwater._engine")]
pub struct Source {
    pub hub: Link,
    pub inner: Inner,
    name: String,
    /// Its messages are jobs, not records of a stream.
    queue: bool,
}

/// (kind, message, traceback)
type Note = (String, String, String);

fn note(error: Option<Note>) -> Option<ErrorNote> {
    error.map(|(kind, message, traceback)| ErrorNote {
        kind,
        message,
        traceback,
    })
}

fn jobs(py: Python<'_>, ids: Option<Vec<String>>) -> PyResult<Option<Vec<JobId>>> {
    ids.map(|ids| ids.iter().map(|id| job(py, id)).collect())
        .transpose()
}

pub fn job(py: Python<'_>, id: &str) -> PyResult<JobId> {
    // A record of a stream is named by its position alone.
    id.parse()
        .or_else(|_| id.parse().map(|seq| JobId { lane: 0, seq }))
        .map_err(|_| usage(py, &format!("{id:?} is not the id of a message")))
}

impl Source {
    pub fn of_group(hub: Link, inner: Inner, name: &str) -> Self {
        Self {
            hub,
            inner,
            name: name.to_owned(),
            queue: false,
        }
    }

    pub fn of_queue(hub: Link, inner: Inner, name: &str) -> Self {
        Self {
            hub,
            inner,
            name: name.to_owned(),
            queue: true,
        }
    }

    /// The ticket of a delivery that is not settled yet; it is from now on.
    fn take(&self, delivery: &Bound<'_, Delivery>) -> PyResult<Ticket> {
        delivery.get().begin(delivery.py())
    }

    fn dead_message(&self, py: Python<'_>, dead: &DeadLetter, decoding: &Py<Decoding>) -> Message {
        let record = dead.record.get();
        Message {
            raw: PyBytes::new(py, record.value).unbind(),
            key: record.key.map(|k| PyBytes::new(py, k).unbind()),
            headers: record.headers().map(Into::into),
            decoding: decoding.clone_ref(py),
            value: PyOnceLock::new(),
            time_ns: record.time_ns(),
            identity: if self.queue {
                Identity::Job {
                    lane: dead.id.lane,
                    seq: dead.id.seq,
                }
            } else {
                Identity::Record {
                    seq: dead.id.seq,
                    id: record.id().map(Into::into),
                }
            },
        }
    }

    fn id(&self, id: JobId) -> String {
        if self.queue {
            id.to_string()
        } else {
            id.seq.to_string()
        }
    }
}

#[pymethods]
impl Source {
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[pyo3(signature = (decoding, *, prefetch=1, waiting=None, hooks=None, eager=true, sync=false))]
    #[allow(clippy::too_many_arguments)] // the ways to consume
    fn consumer(
        &self,
        decoding: Py<Decoding>,
        prefetch: usize,
        waiting: Option<Py<PyAny>>,
        hooks: Option<Py<PyAny>>,
        eager: bool,
        sync: bool,
    ) -> Consumer {
        Consumer::new(
            Arc::clone(&self.hub),
            self.inner.clone(),
            self.queue,
            decoding,
            prefetch,
            waiting,
            hooks,
            eager,
            sync,
        )
    }

    /// Acknowledges; answers those whose lease was lost.
    #[pyo3(signature = (deliveries, /))]
    fn ack_many<'py>(
        &self,
        py: Python<'py>,
        deliveries: Vec<Bound<'py, Delivery>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut tickets = Vec::with_capacity(deliveries.len());
        let mut taken = Vec::with_capacity(deliveries.len());
        let lost = PyList::empty(py);
        for delivery in &deliveries {
            match delivery.get().claim_settling() {
                Some(ticket) => {
                    tickets.push(ticket);
                    taken.push(delivery);
                }
                None => lost.append(delivery)?,
            }
        }
        let done = py.detach(|| self.inner.ack(&tickets));
        let kept = match done {
            Ok(kept) => kept,
            Err(error) => {
                for delivery in &taken {
                    delivery.get().finish(None);
                }
                return Err(crate::errors::to_py(py, error, ""));
            }
        };
        count(
            &self.hub.counters.acked,
            kept.iter().filter(|kept| **kept).count(),
        );
        for (delivery, kept) in taken.iter().zip(kept) {
            delivery.get().finish(Some(kept));
            if !kept {
                lost.append(delivery)?;
            }
        }
        Ok(lost)
    }

    #[pyo3(signature = (delivery, /))]
    fn ack(&self, py: Python<'_>, delivery: &Bound<'_, Delivery>) -> PyResult<()> {
        delivery.get().ack_now(py)
    }

    /// "retry" or "dead"; error: (kind, message, traceback).
    #[pyo3(signature = (delivery, /, *, delay=None, counted=true, error=None))]
    fn retry(
        &self,
        py: Python<'_>,
        delivery: &Bound<'_, Delivery>,
        delay: Option<f64>,
        counted: bool,
        error: Option<Note>,
    ) -> PyResult<&'static str> {
        let ticket = self.take(delivery)?;
        let nack = Nack {
            delay: delay.map(seconds),
            counted,
            error: note(error),
        };
        let done = detached(py, || self.inner.nack(ticket, &nack));
        let kept = |outcome: &NackOutcome| !matches!(outcome, NackOutcome::LeaseLost);
        delivery.get().finish(done.as_ref().ok().map(kept));
        match done? {
            NackOutcome::Retry { .. } => Ok("retry"),
            NackOutcome::Dead => Ok("dead"),
            NackOutcome::LeaseLost => Err(lost(py, delivery)),
        }
    }

    #[pyo3(signature = (delivery, reason, /, error=None))]
    fn reject(
        &self,
        py: Python<'_>,
        delivery: &Bound<'_, Delivery>,
        reason: &str,
        error: Option<Note>,
    ) -> PyResult<()> {
        let error = note(error);
        delivery.get().settle(py, |source, ticket| {
            source.reject(ticket, reason, error.as_ref())
        })
    }

    /// Gives back without counting an attempt.
    #[pyo3(signature = (deliveries, /))]
    fn release(&self, py: Python<'_>, deliveries: Vec<Bound<'_, Delivery>>) -> PyResult<()> {
        let taken: Vec<_> = deliveries
            .iter()
            .filter_map(|d| d.get().claim_settling().map(|ticket| (d, ticket)))
            .collect();
        let tickets: Vec<Ticket> = taken.iter().map(|(_, ticket)| *ticket).collect();
        let done = detached(py, || self.inner.release(&tickets));
        for (delivery, _) in &taken {
            delivery.get().finish(done.is_ok().then_some(true));
        }
        done.map(drop)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = detached(py, || self.inner.stats())?;
        let dict = PyDict::new(py);
        dict.set_item("ready", stats.ready)?;
        dict.set_item("delayed", stats.delayed)?;
        dict.set_item("leased", stats.leased)?;
        dict.set_item("dead", stats.dead)?;
        dict.set_item("oldest_age", stats.oldest_age_ns.map(|ns| ns as f64 / 1e9))?;
        dict.set_item(
            "oldest_lease",
            stats.oldest_lease_ns.map(|ns| ns as f64 / 1e9),
        )?;
        dict.set_item("put_total", stats.put_total)?;
        dict.set_item("acked_total", stats.acked_total)?;
        dict.set_item("expired_total", stats.expired_total)?;
        dict.set_item("paused", stats.paused)?;
        Ok(dict)
    }

    /// One message's life: {id, state, why, attempts, due_ns, holder, record, events, kept_from_ns}.
    #[pyo3(signature = (id, /))]
    fn trace<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyDict>> {
        let id = job(py, id)?;
        let trace = detached(py, || self.inner.trace(id))?;
        crate::tools::trace_dict(py, &self.id(id), &trace)
    }

    fn lag(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.inner.lag())
    }

    /// "earliest", "latest" or a position.
    #[pyo3(signature = (to, /))]
    fn seek(&self, py: Python<'_>, to: &Bound<'_, PyAny>) -> PyResult<()> {
        let to = match to.cast::<PyString>() {
            Ok(word) => match word.to_str()? {
                "earliest" => SeekTo::Earliest,
                "latest" => SeekTo::Latest,
                other => {
                    return Err(usage(
                        py,
                        &format!(
                            "{other:?}: one seeks \"earliest\", \"latest\", a position or a time"
                        ),
                    ))
                }
            },
            Err(_) => SeekTo::Seq(to.extract()?),
        };
        detached(py, || self.inner.seek(to)).map(drop)
    }

    #[pyo3(signature = (time_ns, /))]
    fn seek_time(&self, py: Python<'_>, time_ns: i64) -> PyResult<()> {
        detached(py, || self.inner.seek(SeekTo::Time(time_ns))).map(drop)
    }

    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.inner.pause())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.inner.resume())
    }

    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = detached(py, || self.inner.config())?;
        group_dict(py, &config)
    }

    #[pyo3(signature = (**options))]
    fn alter(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let asked = group_config(options)?;
        detached(py, || self.inner.alter(&asked)).map(drop)
    }

    /// Each with {id, reason, error, history, died_ns}.
    #[pyo3(signature = (decoding, after=None, max=1000))]
    fn dead_list<'py>(
        &self,
        py: Python<'py>,
        decoding: Py<Decoding>,
        after: Option<&str>,
        max: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let after = after.map(|id| job(py, id)).transpose()?;
        let found = detached(py, || self.inner.dead_list(after, max))?;
        let list = PyList::empty(py);
        for dead in &found {
            let facts = PyDict::new(py);
            facts.set_item("id", self.id(dead.id))?;
            facts.set_item("reason", &dead.reason)?;
            facts.set_item("error", dead.error.as_ref().map(text))?;
            facts.set_item("died_ns", dead.died_ns)?;
            let history = PyList::empty(py);
            for each in &dead.history {
                let attempt = PyDict::new(py);
                attempt.set_item("attempt", each.attempt)?;
                attempt.set_item("time_ns", each.time_ns)?;
                attempt.set_item("outcome", &each.outcome)?;
                attempt.set_item("kind", each.error.as_ref().map(|e| &e.kind))?;
                attempt.set_item("message", each.error.as_ref().map(|e| &e.message))?;
                attempt.set_item("traceback", each.error.as_ref().map(|e| &e.traceback))?;
                history.append(attempt)?;
            }
            facts.set_item("history", history)?;
            let message = Bound::new(py, self.dead_message(py, dead, &decoding))?;
            list.append(PyTuple::new(py, [message.into_any(), facts.into_any()])?)?;
        }
        Ok(list)
    }

    fn dead_by_error<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (error, count) in detached(py, || self.inner.dead_by_error())? {
            dict.set_item(error, count)?;
        }
        Ok(dict)
    }

    #[pyo3(signature = (ids=None, max=None))]
    fn dead_redrive(
        &self,
        py: Python<'_>,
        ids: Option<Vec<String>>,
        max: Option<usize>,
    ) -> PyResult<usize> {
        let ids = jobs(py, ids)?;
        detached(py, || self.inner.dead_redrive(ids.as_deref(), max))
    }

    /// Another value for a dead letter; its key and headers stay.
    #[pyo3(signature = (id, value, /, content_type))]
    fn dead_edit(
        &self,
        py: Python<'_>,
        id: &str,
        value: &[u8],
        content_type: &str,
    ) -> PyResult<()> {
        let id = job(py, id)?;
        let mut encoded = Vec::new();
        headers::plain(&ContentType::new(content_type), &mut encoded);
        detached(py, || {
            let letters = self.inner.dead_list(None, usize::MAX)?;
            let old = letters
                .iter()
                .find(|letter| letter.id == id)
                .ok_or_else(|| Error::NotFound {
                    what: "dead letter",
                    name: id.to_string(),
                })?;
            let old = old.record.get();
            for (name, value) in headers::entries(old.headers().unwrap_or_default())
                .filter(|(name, _)| !name.is_empty())
            {
                headers::push(&mut encoded, name, value);
            }
            let record = Record {
                value,
                key: old.key,
                time_ns: Some(old.time_ns()),
                headers: (!encoded.is_empty()).then_some(&encoded),
                id: old.id(),
                ..Record::default()
            };
            self.inner.dead_edit(id, &record)
        })
        .map(drop)
    }

    fn dead_purge(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.inner.dead_purge()).map(|n| n as u64)
    }
}

fn text(error: &ErrorNote) -> String {
    if error.message.is_empty() {
        error.kind.clone()
    } else {
        format!("{}: {}", error.kind, error.message)
    }
}

pub fn lost(py: Python<'_>, delivery: &Bound<'_, Delivery>) -> PyErr {
    let id: String = delivery
        .as_any()
        .getattr("id")
        .and_then(|id| id.extract())
        .unwrap_or_default();
    raise(
        py,
        "LeaseLostError",
        &format!(
            "the lease of message {id} is over: another consumer may have it; nothing was changed"
        ),
    )
}
