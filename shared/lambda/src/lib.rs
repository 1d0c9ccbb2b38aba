//! All parts of a Lambda function except HTTP: startup, log, metrics, deadlines, event handlers.
//!
//! A function that an AWS service invokes implements [`EventHandler`], and its `main` calls [`serve()`]. A function
//! that serves HTTP implements `web::Route`, which the crate `web` turns into a [`Function`].

mod event;
mod function;
mod log;
mod metrics;
pub mod stream;
mod work;

pub use event::{EventHandler, handle_within, open_handler, serve};
pub use function::{Description, Error, Function, Open, run};
pub use log::{Record, reason};
pub use metrics::NAMESPACE as METRICS_NAMESPACE;
pub use process::{BootError, World};
pub use work::{Unfinished, finish};
