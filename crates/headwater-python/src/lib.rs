//! `headwater._engine`: the engine as Python sees it. One thin file a type; no logic.

use pyo3::prelude::*;

#[pymodule]
mod _engine {}
