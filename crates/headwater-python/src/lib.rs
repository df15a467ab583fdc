//! `headwater._engine`: the engine as Python sees it. One thin file a type; no logic.

mod calls;
mod decoding;
mod errors;
mod headers;
mod message;
mod position;
mod ready;

use pyo3::prelude::*;

#[pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::decoding::Decoding;
    #[pymodule_export]
    use crate::message::Message;
    #[pymodule_export]
    use crate::position::Position;
    #[pymodule_export]
    use crate::ready::drive;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("Ready", crate::ready::ready_type(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
