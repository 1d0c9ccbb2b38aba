//! Every part of a Lambda function that is not HTTP: startup, log, metrics, deadlines, event handlers.
//!
//! A function that an AWS service invokes implements [`EventHandler`], and its `main` calls [`serve()`]. A
//! function that serves HTTP implements `web::Route`; the crate `web` is a [`Function`] on top of this one.

mod event;
mod function;
mod log;
mod metrics;
mod work;

pub use event::{EventHandler, handle_within, open_handler, serve};
pub use function::{Description, Error, Function, run};
pub use log::{Record, reason};
pub use metrics::NAMESPACE as METRICS_NAMESPACE;
pub use process::{BootError, World};
pub use work::{Unfinished, finish};
