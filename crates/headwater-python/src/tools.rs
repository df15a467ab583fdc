//! What the tools need: doctor and backup of a directory as a whole, the life of one message.

use std::path::PathBuf;

use headwater_log::group::Trace;
use headwater_log::log::OwnedRecord;
use headwater_log::{backup as copying, doctor as looking};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::hub::detached;

/// {path, findings: [{level, what, file, offset, advice}], processes: [...], objects, files, bytes, records, seconds}.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub fn doctor(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let report = detached(py, || looking::check(&path))?;
    let findings = PyList::empty(py);
    for finding in &report.findings {
        let dict = PyDict::new(py);
        dict.set_item("level", finding.level.word())?;
        dict.set_item("what", &finding.what)?;
        let file = finding.file.as_ref().map(|file| file.display().to_string());
        dict.set_item("file", file)?;
        dict.set_item("offset", finding.offset)?;
        dict.set_item("advice", &finding.advice)?;
        findings.append(dict)?;
    }
    let processes = PyList::empty(py);
    for process in &report.processes {
        let dict = PyDict::new(py);
        dict.set_item("pid", process.pid)?;
        dict.set_item("name", &process.name)?;
        dict.set_item("state", process.standing.word())?;
        dict.set_item("leases", process.leases)?;
        dict.set_item("janitor", process.janitor)?;
        processes.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("path", report.path.display().to_string())?;
    dict.set_item("findings", findings)?;
    dict.set_item("processes", processes)?;
    dict.set_item("objects", report.looked.objects)?;
    dict.set_item("files", report.looked.files)?;
    dict.set_item("bytes", report.looked.bytes)?;
    dict.set_item("records", report.looked.records)?;
    dict.set_item("seconds", report.looked.seconds)?;
    Ok(dict)
}

/// {objects, files, bytes}.
#[pyfunction]
#[pyo3(signature = (source, out, /))]
pub fn backup(py: Python<'_>, source: PathBuf, out: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let copied = detached(py, || copying::backup(&source, &out))?;
    let dict = PyDict::new(py);
    dict.set_item("objects", copied.objects)?;
    dict.set_item("files", copied.files)?;
    dict.set_item("bytes", copied.bytes)?;
    Ok(dict)
}

/// {append_ns, time_ns, key, bytes, due_ns, ttl_ns}
pub fn record_dict<'py>(py: Python<'py>, record: &OwnedRecord) -> PyResult<Bound<'py, PyDict>> {
    let found = record.get();
    let dict = PyDict::new(py);
    dict.set_item("append_ns", found.append_ns)?;
    dict.set_item("time_ns", found.time_ns())?;
    dict.set_item("key", found.key.map(|key| PyBytes::new(py, key)))?;
    dict.set_item("bytes", found.value.len())?;
    dict.set_item("due_ns", found.due_ns())?;
    dict.set_item("ttl_ns", found.ttl_ns())?;
    Ok(dict)
}

pub fn trace_dict<'py>(py: Python<'py>, id: &str, trace: &Trace) -> PyResult<Bound<'py, PyDict>> {
    let events = PyList::empty(py);
    for event in &trace.events {
        let dict = PyDict::new(py);
        dict.set_item("time_ns", event.time_ns)?;
        dict.set_item("what", event.what)?;
        dict.set_item("by", &event.by)?;
        dict.set_item("attempt", event.attempt)?;
        dict.set_item("due_ns", event.due_ns)?;
        let error = event
            .error
            .as_ref()
            .map(|error| (&error.kind, &error.message));
        dict.set_item("error", error)?;
        dict.set_item("note", &event.note)?;
        events.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("id", id)?;
    dict.set_item("state", trace.state)?;
    dict.set_item("why", &trace.why)?;
    dict.set_item("attempts", trace.attempts)?;
    dict.set_item("due_ns", trace.due_ns)?;
    dict.set_item("holder", &trace.holder)?;
    let record = trace.record.as_ref();
    dict.set_item("record", record.map(|r| record_dict(py, r)).transpose()?)?;
    dict.set_item("events", events)?;
    dict.set_item("kept_from_ns", trace.kept_from_ns)?;
    Ok(dict)
}
