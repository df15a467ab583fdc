//! `Consumer`: the messages of a source, one after the other or in batches, claimed for this process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashSet;
use headwater_log::group::{Source as Inner, Ticket};
use headwater_log::log::{OwnedRecord, RecordRef};
use headwater_log::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::calls::untracked;
use crate::decoding::Decoding;
use crate::delivery::{Delivery, Holder};
use crate::errors::to_py;
use crate::hub::{count, Hub, Link};
use crate::iterating::{iterating, Pull};
use crate::message::{Identity, Message};
use crate::ready::drive;

struct Claimed {
    ticket: Ticket,
    attempt: u32,
    lease_until_ns: i64,
    record: OwnedRecord,
}

#[pyclass(frozen, weakref, module = "headwater._engine")]
pub struct Consumer {
    pub hub: Link,
    pub source: Inner,
    pub hooks: Option<Py<PyAny>>,
    pub waiting: Option<Py<PyAny>>,
    pub sync: bool,
    decoding: Py<Decoding>,
    queue: bool,
    eager: bool,
    prefetch: usize,
    /// Claimed, not handed out.
    ahead: Mutex<VecDeque<Claimed>>,
    /// All that is claimed and not settled.
    held: Mutex<HashSet<Ticket, foldhash::fast::FixedState>>,
    stopped: AtomicBool,
    received: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consumer {
    #[allow(clippy::too_many_arguments)] // one place makes it
    pub fn new(
        hub: Link,
        source: Inner,
        queue: bool,
        decoding: Py<Decoding>,
        prefetch: usize,
        waiting: Option<Py<PyAny>>,
        hooks: Option<Py<PyAny>>,
        eager: bool,
        sync: bool,
    ) -> Self {
        let (ahead, held) = (Mutex::default(), Mutex::default());
        Self {
            hub,
            source,
            hooks,
            waiting,
            sync,
            decoding,
            queue,
            eager,
            prefetch,
            ahead,
            held,
            stopped: AtomicBool::new(false),
            received: AtomicU64::new(0),
        }
    }

    /// The delivery is in hand no longer. False: it was not, since the consumer gave it back.
    pub fn forget(&self, ticket: &Ticket) -> bool {
        lock(&self.held).remove(ticket)
    }

    /// Claims up to `max`: with the GIL held where that takes no time, else without it.
    fn claim(&self, py: Python<'_>, max: usize) -> PyResult<VecDeque<Claimed>> {
        let mut found = VecDeque::new();
        let mut each = |ticket, attempt, lease_until_ns, record: &RecordRef<'_>| {
            found.push_back(Claimed {
                ticket,
                attempt,
                lease_until_ns,
                record: record.to_owned(),
            });
        };
        let claimed = match self.source.try_claim(max, &mut each) {
            Err(Error::WouldBlock) => py.detach(|| self.source.claim(max, &mut each)),
            claimed => claimed,
        };
        lock(&self.held).extend(found.iter().map(|c| c.ticket));
        claimed.map_err(|e| {
            to_py(
                py,
                e,
                self.decoding.get().name.to_str(py).unwrap_or_default(),
            )
        })?;
        Ok(found)
    }

    /// As Python sees it; None: its value did not decode, and the hook was told.
    fn hand_out<'py>(
        slf: &Bound<'py, Self>,
        claimed: Claimed,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let record = claimed.record.get();
        let message = Message {
            raw: PyBytes::new(py, record.value).unbind(),
            key: record.key.map(|k| PyBytes::new(py, k).unbind()),
            headers: record.headers().map(Into::into),
            decoding: this.decoding.clone_ref(py),
            value: PyOnceLock::new(),
            time_ns: record.time_ns(),
            identity: if this.queue {
                Identity::Job {
                    lane: claimed.ticket.lane,
                    seq: claimed.ticket.seq,
                }
            } else {
                Identity::Record {
                    seq: claimed.ticket.seq,
                    id: record.id().map(Into::into),
                }
            },
        };
        let delivery = Delivery {
            holder: Holder::Engine {
                consumer: slf.clone().unbind(),
                ticket: claimed.ticket,
            },
            attempt: claimed.attempt,
            lease_until_ns: AtomicI64::new(claimed.lease_until_ns),
            settled: AtomicBool::new(false),
        };
        let delivery = PyClassInitializer::from(message).add_subclass(delivery);
        let delivery = untracked(Bound::new(py, delivery)?);
        if this.eager {
            if let Err(error) = Message::decode(delivery.as_super()) {
                return match &this.hooks {
                    Some(hooks) if error.is_instance_of::<PyException>(py) => {
                        let doing = hooks
                            .bind(py)
                            .call_method1("on_undecodable", (&delivery, error.into_value(py)))?;
                        if !doing.is_none() {
                            match &this.waiting {
                                Some(waiting) if !this.sync => {
                                    waiting.bind(py).call_method1("spawn", (doing,)).map(drop)?
                                }
                                _ => drop(drive(py, &doing)?),
                            }
                        }
                        Ok(None)
                    }
                    _ => Err(error),
                };
            }
        }
        count(&this.received, 1);
        count(&this.hub.counters.received, 1);
        Ok(Some(delivery.into_any()))
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn take<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let this = slf.get();
        loop {
            if this.stopped() {
                return Ok(None);
            }
            let ahead = lock(&this.ahead).pop_front();
            let claimed = match ahead {
                Some(claimed) => claimed,
                None => {
                    let mut found = this.claim(slf.py(), 1 + this.prefetch)?;
                    let Some(first) = found.pop_front() else {
                        return Ok(None);
                    };
                    lock(&this.ahead).append(&mut found);
                    first
                }
            };
            if let Some(delivery) = Self::hand_out(slf, claimed)? {
                return Ok(Some(delivery));
            }
        }
    }

    fn take_many<'py>(slf: &Bound<'py, Self>, max: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let this = slf.get();
        let mut found = Vec::with_capacity(max.min(1024));
        while found.len() < max && !this.stopped() {
            let wanted = max - found.len();
            let mut batch: VecDeque<Claimed> = {
                let mut ahead = lock(&this.ahead);
                let ready = wanted.min(ahead.len());
                ahead.drain(..ready).collect()
            };
            if batch.is_empty() {
                batch = this.claim(slf.py(), wanted)?;
                if batch.is_empty() {
                    break;
                }
            }
            while let Some(claimed) = batch.pop_front() {
                match Self::hand_out(slf, claimed) {
                    Ok(Some(delivery)) => found.push(delivery),
                    Ok(None) => {}
                    Err(error) => {
                        lock(&this.ahead).append(&mut batch);
                        return Err(error);
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for ticket in lock(&self.held).drain() {
            self.source.give_back_later(ticket);
        }
    }
}

impl Pull for Consumer {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn waiting(&self) -> Option<&Py<PyAny>> {
        self.waiting.as_ref()
    }

    fn look<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::take(slf)
    }

    fn look_many<'py>(slf: &Bound<'py, Self>, max: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        Self::take_many(slf, max)
    }

    fn ask(&self) {
        self.source.arm();
    }

    fn due_ns(&self) -> Option<i64> {
        self.source.next_due_ns()
    }

    fn over(&self) -> bool {
        self.stopped()
    }
}

iterating!(Consumer {
    /// Messages handed out.
    #[getter]
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Deliveries handed out and not settled.
    #[getter]
    fn in_hand(&self) -> usize {
        let ahead = lock(&self.ahead).len();
        lock(&self.held).len().saturating_sub(ahead)
    }

    /// Gives back all that is not settled, at once.
    fn close(&self, py: Python<'_>) {
        self.stop();
        lock(&self.ahead).clear();
        let held: Vec<Ticket> = lock(&self.held).drain().collect();
        if !held.is_empty() && py.detach(|| self.source.release(&held)).is_err() {
            for ticket in held {
                self.source.give_back_later(ticket);
            }
        }
    }
});
