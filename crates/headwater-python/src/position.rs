//! `Position`: a place in one shard of a stream.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::calls::untracked;
use crate::errors::{raise, usage};

/// A place in one shard of a stream. `str()` and `parse()` are inverse: `42@orders`, or `42.3@orders` in shard 3. Ordered within a
/// shard; IncomparableError across.
#[pyclass(frozen, module = "headwater._engine")]
pub struct Position {
    pub stream: Py<PyString>,
    pub seq: u64,
    pub shard: u32,
}

impl Position {
    pub fn new<'py>(py: Python<'py>, stream: &str, seq: u64) -> PyResult<Bound<'py, Self>> {
        Bound::new(
            py,
            Self {
                stream: PyString::new(py, stream).unbind(),
                seq,
                shard: 0,
            },
        )
    }

    /// The fast one: the name is shared.
    pub fn of<'py>(py: Python<'py>, stream: &Py<PyString>, seq: u64) -> PyResult<Bound<'py, Self>> {
        let position = Self {
            stream: stream.clone_ref(py),
            seq,
            shard: 0,
        };
        Bound::new(py, position).map(untracked)
    }

    fn text(&self, py: Python<'_>) -> PyResult<String> {
        let stream = self.stream.to_str(py)?;
        let shard = if self.shard == 0 {
            String::new()
        } else {
            format!(".{}", self.shard)
        };
        Ok(if stream.is_empty() {
            format!("{}{shard}", self.seq)
        } else {
            format!("{}{shard}@{stream}", self.seq)
        })
    }
}

#[pymethods]
impl Position {
    #[new]
    #[pyo3(signature = (stream, seq, shard=0))]
    fn py_new(stream: Py<PyString>, seq: &Bound<'_, PyAny>, shard: i64) -> PyResult<Self> {
        match (seq.extract(), shard.try_into()) {
            (Ok(seq), Ok(shard)) => Ok(Self { stream, seq, shard }),
            _ => Err(usage(
                seq.py(),
                &format!("a position has whole numbers from 0 on, not seq={seq}, shard={shard}"),
            )),
        }
    }

    /// The inverse of `str()`.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn parse(py: Python<'_>, text: &str) -> PyResult<Self> {
        let (place, stream) = text.split_once('@').unwrap_or((text, ""));
        let (seq, shard) = place.split_once('.').unwrap_or((place, "0"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        match (seq.parse(), shard.parse()) {
            (Ok(seq), Ok(shard)) if digits(seq_text(place)) && digits(shard_text(place)) => {
                Ok(Self {
                    stream: PyString::new(py, stream).unbind(),
                    seq,
                    shard,
                })
            }
            _ => Err(usage(
                py,
                &format!("{text:?} is not a position; one looks like 42@orders"),
            )),
        }
    }

    /// The stream's name; empty where it was parsed without one.
    #[getter]
    fn stream(&self, py: Python<'_>) -> Py<PyString> {
        self.stream.clone_ref(py)
    }

    /// The number within its shard, from 1.
    #[getter]
    fn seq(&self) -> u64 {
        self.seq
    }

    /// The shard, from 0.
    #[getter]
    fn shard(&self) -> u32 {
        self.shard
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        self.text(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.text(py)?);
        Ok(format!("Position.parse({})", text.repr()?))
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        let mut hasher = DefaultHasher::new();
        (self.stream.to_str(py)?, self.seq, self.shard).hash(&mut hasher);
        Ok(hasher.finish())
    }

    #[allow(clippy::type_complexity)] // what the protocol wants: a class and its arguments
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyType>, (Py<PyString>, u64, u32))> {
        let this = slf.get();
        Ok((
            slf.get_type().unbind(),
            (this.stream.clone_ref(slf.py()), this.seq, this.shard),
        ))
    }

    fn __richcmp__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented());
        };
        let other = other.get();
        let together =
            self.shard == other.shard && self.stream.to_str(py)? == other.stream.to_str(py)?;
        let answer = match op {
            CompareOp::Eq => together && self.seq == other.seq,
            CompareOp::Ne => !(together && self.seq == other.seq),
            _ if !together => {
                let message = format!(
                    "{} and {} are in different shards or streams, and have no order",
                    self.text(py)?,
                    other.text(py)?
                );
                return Err(raise(py, "IncomparableError", &message));
            }
            _ => op.matches(self.seq.cmp(&other.seq)),
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }
}

fn seq_text(place: &str) -> &str {
    place.split_once('.').map_or(place, |(seq, _)| seq)
}

fn shard_text(place: &str) -> &str {
    place.split_once('.').map_or("0", |(_, shard)| shard)
}
