//! Functions on a directory as a whole: doctor and backup.

use std::path::PathBuf;

use headwater_log::{backup as copying, doctor as looking};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

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
