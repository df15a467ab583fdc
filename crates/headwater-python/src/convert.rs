//! Options of streams, groups and queues: to and from dictionaries.

use headwater_log::options::{
    GroupConfig, GroupStart, Ordering, QueueConfig, Retention, RetryPolicy, StreamConfig,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::usage;
use crate::message::keyword;

/// (age, bytes, records); all None lifts the limits.
pub fn retention(asked: Option<(Option<f64>, Option<u64>, Option<u64>)>) -> Option<Retention> {
    asked.map(|(age, bytes, records)| Retention {
        age,
        bytes,
        records,
    })
}

pub fn stream_config<'py>(py: Python<'py>, config: &StreamConfig) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(
        "retention",
        config.retention.map(|r| (r.age, r.bytes, r.records)),
    )?;
    dict.set_item("partitions", config.partitions)?;
    Ok(dict)
}

/// Infinity: no bound.
fn bound(value: Option<f64>) -> Option<Option<f64>> {
    value.map(|v| v.is_finite().then_some(v))
}

pub fn group_config(options: Option<&Bound<'_, PyDict>>) -> PyResult<GroupConfig> {
    let ordering: Option<String> = keyword(options, "ordering")?;
    let ordering = match ordering.as_deref() {
        None => None,
        Some("none") => Some(Ordering::None),
        Some("key") => Some(Ordering::Key),
        Some("total") => Some(Ordering::Total),
        Some(other) => {
            return Err(refuse(
                options,
                &format!("ordering={other:?}: it is \"none\", \"key\" or \"total\""),
            ))
        }
    };
    let word: Option<String> = keyword(options, "start")?;
    let start = match (
        keyword(options, "start_seq")?,
        keyword(options, "start_time_ns")?,
        word.as_deref(),
    ) {
        (Some(seq), ..) => Some(GroupStart::Seq(seq)),
        (_, Some(time), _) => Some(GroupStart::Time(time)),
        (.., Some("earliest")) => Some(GroupStart::Earliest),
        (.., Some("latest")) => Some(GroupStart::Latest),
        (.., None) => None,
        (.., Some(other)) => {
            return Err(refuse(
                options,
                &format!("start={other:?}: it is \"earliest\", \"latest\", a position or a time"),
            ))
        }
    };
    let retry: Option<Bound<'_, PyDict>> = keyword(options, "retry")?;
    let retry = match retry {
        None => None,
        Some(fields) => {
            let fields = Some(&fields);
            Some(RetryPolicy {
                max_attempts: keyword(fields, "max_attempts")?,
                delay: keyword(fields, "delay")?.unwrap_or(0.0),
                factor: keyword(fields, "factor")?.unwrap_or(1.0),
                max_delay: keyword(fields, "max_delay")?.unwrap_or(0.0),
                jitter: keyword(fields, "jitter")?.unwrap_or(0.0),
            })
        }
    };
    Ok(GroupConfig {
        ordering,
        start,
        lease: keyword(options, "lease")?,
        retry,
        max_hold: bound(keyword(options, "max_hold")?),
    })
}

fn refuse(options: Option<&Bound<'_, PyDict>>, message: &str) -> PyErr {
    Python::attach(|py| usage(options.map_or(py, |o| o.py()), message))
}

pub fn queue_config(options: Option<&Bound<'_, PyDict>>) -> PyResult<QueueConfig> {
    let length: Option<f64> = keyword(options, "max_length")?;
    Ok(QueueConfig {
        group: group_config(options)?,
        unique_for: bound(keyword(options, "unique_for")?),
        max_length: bound(length).map(|b| b.map(|v| v as u64)),
    })
}

/// Absent: the default. A bound that is off is None.
pub fn group_dict<'py>(py: Python<'py>, config: &GroupConfig) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let ordering = match config.ordering.unwrap_or_default() {
        Ordering::None => "none",
        Ordering::Key => "key",
        Ordering::Total => "total",
    };
    dict.set_item("ordering", ordering)?;
    if let Some(lease) = config.lease {
        dict.set_item("lease", lease)?;
    }
    if let Some(retry) = config.retry {
        let fields = PyDict::new(py);
        fields.set_item("max_attempts", retry.max_attempts)?;
        fields.set_item("delay", retry.delay)?;
        fields.set_item("factor", retry.factor)?;
        fields.set_item("max_delay", retry.max_delay)?;
        fields.set_item("jitter", retry.jitter)?;
        dict.set_item("retry", fields)?;
    }
    dict.set_item("max_hold", config.max_hold.flatten())?;
    Ok(dict)
}

pub fn queue_dict<'py>(py: Python<'py>, config: &QueueConfig) -> PyResult<Bound<'py, PyDict>> {
    let dict = group_dict(py, &config.group)?;
    dict.set_item("unique_for", config.unique_for.flatten())?;
    dict.set_item("max_length", config.max_length.flatten())?;
    Ok(dict)
}
