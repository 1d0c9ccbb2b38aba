//! The inputs of a process: environment ([`Env`]), time ([`Clock`], [`Deadline`]) and randomness ([`Random`]),
//! passed in so that a test can set them; the kinds of faults ([`Fault`]); and metrics ([`Metric`]).

mod clock;
mod deadline;
mod env;
mod fault;
pub mod metrics;
mod random;

pub use clock::{Clock, SystemClock};
pub use deadline::{Deadline, DeadlinePassed};
pub use env::{AwsEnvironment, BootError, ConfigErrors, Env, Reader};
pub use fault::{Fault, FaultKind, Outage};
pub use metrics::Metric;
pub use random::{Random, SystemRandom};
