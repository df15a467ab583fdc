//! `headwater._engine`: the engine as Python sees it. One thin file a type; no logic.

mod appender;
mod block;
mod calls;
mod channel;
mod consumer;
mod convert;
mod decoding;
mod delivery;
mod engine;
mod errors;
mod headers;
mod hub;
mod iterating;
mod message;
mod position;
mod queue;
mod reader;
mod ready;
mod source;
mod stream;
mod subscription;
mod tools;
mod writing;

use pyo3::prelude::*;

#[pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::appender::Appender;
    #[pymodule_export]
    use crate::block::Handled;
    #[pymodule_export]
    use crate::channel::Channel;
    #[pymodule_export]
    use crate::consumer::Consumer;
    #[pymodule_export]
    use crate::decoding::Decoding;
    #[pymodule_export]
    use crate::delivery::Delivery;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::engine::LoopBell;
    #[pymodule_export]
    use crate::hub::Later;
    #[pymodule_export]
    use crate::message::Message;
    #[pymodule_export]
    use crate::position::Position;
    #[pymodule_export]
    use crate::queue::Queue;
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::ready::drive;
    #[pymodule_export]
    use crate::ready::failed_with;
    #[pymodule_export]
    use crate::source::Source;
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::subscription::Subscription;
    #[pymodule_export]
    use crate::tools::backup;
    #[pymodule_export]
    use crate::tools::doctor;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("Ready", crate::ready::ready_type(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
