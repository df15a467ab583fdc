//! `Message`: one message, read-only, its value decoded at the first look.

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMappingProxy, PyString, PyTuple, PyType};

use crate::calls::{call_one, datetime, text_or_bytes};
use crate::decoding::Decoding;
use crate::headers::{self, ContentType};
use crate::position::Position;

/// What tells one message from another.
pub enum Identity {
    /// Of a stream: its position, and the id its writer gave.
    Record { seq: u64, id: Option<Box<[u8]>> },
    /// Of a queue.
    Job { lane: u8, seq: u64 },
    /// Of a channel; a name where it came by a pattern.
    Heard {
        name: Option<Py<PyString>>,
        publisher: u64,
        number: u64,
    },
    /// Made in Python.
    Given(Box<Given>),
}

pub struct Given {
    pub id: String,
    pub name: Option<Py<PyString>>,
    pub position: Option<Py<Position>>,
    pub foreign: bool,
}

/// One message, read-only. The value is decoded at the first look at `.value`.
#[pyclass(frozen, subclass, generic, module = "headwater._engine")]
pub struct Message {
    pub raw: Py<PyBytes>,
    pub key: Option<Py<PyBytes>>,
    pub headers: Option<Box<[u8]>>,
    pub decoding: Py<Decoding>,
    pub value: PyOnceLock<Py<PyAny>>,
    pub time_ns: i64,
    pub identity: Identity,
}

/// The keywords of a message made in Python; Delivery has its own besides.
const FIELDS: [&str; 13] = [
    "raw",
    "decoding",
    "name",
    "key",
    "headers",
    "raw_headers",
    "content_type",
    "id",
    "time_ns",
    "position",
    "reply_to",
    "correlation_id",
    "foreign",
];

/// A keyword's value; None where it is absent or None.
pub fn keyword<'py, T>(kwargs: Option<&Bound<'py, PyDict>>, name: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
{
    let Some(value) = kwargs
        .map(|k| k.get_item(name))
        .transpose()?
        .flatten()
        .filter(|v| !v.is_none())
    else {
        return Ok(None);
    };
    value.extract().map(Some).map_err(Into::into)
}

/// TypeError for keywords that nobody knows, unless a subclass takes them.
pub fn only(
    class: &Bound<'_, PyType>,
    ours: &Bound<'_, PyType>,
    kwargs: Option<&Bound<'_, PyDict>>,
    more: &[&str],
) -> PyResult<()> {
    if !class.is(ours) {
        return Ok(());
    }
    for name in kwargs.iter().flat_map(|k| k.keys()) {
        let name: String = name.extract()?;
        if !FIELDS.contains(&name.as_str()) && !more.contains(&name.as_str()) {
            return Err(PyTypeError::new_err(format!(
                "{} has no field {name:?}",
                ours.name()?
            )));
        }
    }
    Ok(())
}

impl Message {
    /// From keywords.
    pub fn given(py: Python<'_>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let raw: Option<Bound<'_, PyBytes>> = keyword(kwargs, "raw")?;
        let name: Option<Bound<'_, PyString>> = keyword(kwargs, "name")?;
        let decoding: Option<Bound<'_, Decoding>> = keyword(kwargs, "decoding")?;
        let decoding = match decoding {
            Some(decoding) => decoding.unbind(),
            None => {
                let name = name.clone().unwrap_or_else(|| PyString::new(py, ""));
                let content_type = ContentType::new(headers::BYTES);
                Py::new(
                    py,
                    Decoding {
                        name: name.unbind(),
                        decode: None,
                        content_type,
                        fallback: None,
                    },
                )?
            }
        };
        let content: Option<String> = keyword(kwargs, "content_type")?;
        let content = content.map_or_else(
            || decoding.get().content_type.clone(),
            |text| ContentType::new(&text),
        );
        let mut encoded = Vec::new();
        let pairs: Option<Bound<'_, PyAny>> = keyword(kwargs, "raw_headers")?;
        let pairs = if pairs.is_some() {
            pairs
        } else {
            keyword(kwargs, "headers")?
        };
        headers::encode(&content, pairs.as_ref(), &mut encoded)?;
        for (field, name) in [("reply_to", b"\0r"), ("correlation_id", b"\0c")] {
            if let Some(value) = keyword::<String>(kwargs, field)? {
                headers::reserved(&mut encoded, name, &value);
            }
        }
        let key: Option<Bound<'_, PyAny>> = keyword(kwargs, "key")?;
        Ok(Self {
            raw: raw.unwrap_or_else(|| PyBytes::new(py, b"")).unbind(),
            key: key
                .map(|k| text_or_bytes(&k).map(|b| PyBytes::new(py, b).unbind()))
                .transpose()?,
            headers: (!encoded.is_empty()).then(|| encoded.into_boxed_slice()),
            decoding,
            value: PyOnceLock::new(),
            time_ns: keyword(kwargs, "time_ns")?.unwrap_or(0),
            identity: Identity::Given(Box::new(Given {
                id: keyword(kwargs, "id")?.unwrap_or_default(),
                name: name.map(Bound::unbind),
                position: keyword(kwargs, "position")?,
                foreign: keyword(kwargs, "foreign")?.unwrap_or(false),
            })),
        })
    }

    fn encoded(&self) -> &[u8] {
        self.headers.as_deref().unwrap_or_default()
    }

    fn reserved(&self, name: &[u8]) -> Option<String> {
        headers::find(self.encoded(), name).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    /// The value, decoded now if it was not. `slf` must be the whole object, so that a fallback sees a Delivery as one.
    pub fn decode<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(value) = this.value.get(py) {
            return Ok(value.bind(py).clone());
        }
        let decoding = this.decoding.get();
        let fall_back = |error: Option<PyErr>| match (&decoding.fallback, error) {
            (Some(fallback), error) => fallback
                .bind(py)
                .call1((slf, error.map(|e| e.into_value(py)))),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(this.raw.bind(py).clone().into_any()),
        };
        let value = if decoding.content_type.is_of(this.encoded()) {
            match &decoding.decode {
                None => this.raw.bind(py).clone().into_any(),
                Some(decode) => match call_one(decode.bind(py), this.raw.bind(py).as_any()) {
                    Ok(value) => value,
                    Err(error) if error.is_instance_of::<PyException>(py) => {
                        fall_back(Some(error))?
                    }
                    Err(error) => return Err(error),
                },
            }
        } else {
            fall_back(None)?
        };
        let _ = this.value.set(py, value.clone().unbind());
        Ok(value)
    }
}

#[pymethods]
impl Message {
    #[new]
    #[classmethod]
    #[pyo3(signature = (**kwargs))]
    fn new(cls: &Bound<'_, PyType>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        only(cls, &cls.py().get_type::<Self>(), kwargs, &[])?;
        Self::given(cls.py(), kwargs)
    }

    /// The value, decoded at the first look. Raises DecodeError where it does not fit the type.
    #[getter]
    fn value<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::decode(slf)
    }

    /// The payload as it travelled.
    #[getter]
    fn raw(&self, py: Python<'_>) -> Py<PyBytes> {
        self.raw.clone_ref(py)
    }

    /// The key as text; what of it is not UTF-8 is replaced.
    #[getter]
    fn key(&self, py: Python<'_>) -> Option<String> {
        self.key
            .as_ref()
            .map(|k| String::from_utf8_lossy(k.as_bytes(py)).into_owned())
    }

    /// The key as bytes.
    #[getter]
    fn raw_key(&self, py: Python<'_>) -> Option<Py<PyBytes>> {
        self.key.as_ref().map(|k| k.clone_ref(py))
    }

    /// The headers, read-only; of several with one name the last.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let dict = PyDict::new(py);
        for (name, value) in
            headers::entries(self.encoded()).filter(|(name, _)| headers::is_users(name))
        {
            dict.set_item(
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value),
            )?;
        }
        Ok(PyMappingProxy::new(py, dict.as_mapping()))
    }

    /// All headers in their order, as pairs of str and bytes.
    #[getter]
    fn raw_headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let pairs: Vec<_> = headers::entries(self.encoded())
            .filter(|(name, _)| headers::is_users(name))
            .map(|(name, value)| {
                (
                    String::from_utf8_lossy(name).into_owned(),
                    PyBytes::new(py, value),
                )
            })
            .collect();
        PyTuple::new(py, pairs)
    }

    /// What the payload is, as the sender's codec said.
    #[getter]
    fn content_type(&self) -> &str {
        headers::content_type(self.encoded())
    }

    /// A job's id, the `id=` given to `append`, else the position's number; of a channel, its publisher and which one of it.
    #[getter]
    fn id(&self) -> String {
        match &self.identity {
            Identity::Record { seq, id: None } => seq.to_string(),
            Identity::Job { lane, seq } => format!("{lane}-{seq}"),
            Identity::Record { id: Some(id), .. } => String::from_utf8_lossy(id).into_owned(),
            Identity::Heard {
                publisher, number, ..
            } => format!("{publisher:016x}-{number}"),
            Identity::Given(given) => given.id.clone(),
        }
    }

    /// The channel, queue or stream it came by.
    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyString> {
        let own = match &self.identity {
            Identity::Heard { name, .. } => name.as_ref(),
            Identity::Given(given) => given.name.as_ref(),
            _ => None,
        };
        own.unwrap_or(&self.decoding.get().name).clone_ref(py)
    }

    /// The event time, an aware datetime in UTC.
    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.time_ns)
    }

    /// The event time, ns since 1970 UTC.
    #[getter]
    fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// Where it stands in its stream; None where there is none.
    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<Option<Py<Position>>> {
        match &self.identity {
            Identity::Record { seq, .. } => Ok(Some(
                Position::of(py, &self.decoding.get().name, *seq)?.unbind(),
            )),
            Identity::Given(given) => Ok(given.position.as_ref().map(|p| p.clone_ref(py))),
            _ => Ok(None),
        }
    }

    /// Where an answer goes, if the sender asks for one.
    #[getter]
    fn reply_to(&self) -> Option<String> {
        self.reserved(b"\0r")
    }

    /// What an answer is known by.
    #[getter]
    fn correlation_id(&self) -> Option<String> {
        self.reserved(b"\0c")
    }

    /// Whether another program than headwater wrote it.
    #[getter]
    fn foreign(&self) -> bool {
        matches!(&self.identity, Identity::Given(given) if given.foreign)
    }

    /// Names the message; the payload is never shown.
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let (name, id) = (this.name(slf.py()), this.id());
        Ok(format!(
            "<{} {} {id:?}, {} bytes>",
            slf.get_type().name()?,
            name.bind(slf.py()).repr()?,
            this.raw.as_bytes(slf.py()).len()
        ))
    }
}
