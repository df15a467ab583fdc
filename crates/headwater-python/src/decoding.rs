//! `Decoding`: how the messages of one name become values.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::headers::{ContentType, BYTES};

#[pyclass(frozen, module = "headwater._engine")]
pub struct Decoding {
    pub name: Py<PyString>,
    pub decode: Option<Py<PyAny>>,
    pub content_type: ContentType,
    pub fallback: Option<Py<PyAny>>,
}

#[pymethods]
impl Decoding {
    #[new]
    #[pyo3(signature = (name, decode=None, content_type=BYTES, fallback=None))]
    fn new(
        name: Py<PyString>,
        decode: Option<Py<PyAny>>,
        content_type: &str,
        fallback: Option<Py<PyAny>>,
    ) -> Self {
        Self {
            name,
            decode,
            content_type: ContentType::new(content_type),
            fallback,
        }
    }

    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyString> {
        self.name.clone_ref(py)
    }

    #[getter]
    fn content_type(&self) -> &str {
        self.content_type.text()
    }
}
