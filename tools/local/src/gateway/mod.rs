//! A small local gateway that behaves as an API Gateway HTTP API in front of Lambda functions.
//!
//! What it imitates, from the developer guide of API Gateway ("Working with HTTP APIs"): routes of
//! method and path, events of payload format 2.0, the mapping of a function's result to a response,
//! its own answers for unknown routes, large requests and failing functions, CORS by the template's
//! configuration. What it leaves out: stages other than `$default`, authorizers, throttling. What it adds:
//! the pages that links in local mails lead to, the call of the Lambda API that `cargo lambda invoke`
//! makes, problems that say what a developer has to do, and a refusal of requests from other sites.

mod cors;
mod event;
mod invoker;
mod pages;
mod reply;
mod routes;
mod server;

pub use cors::{Cors, Origin};
pub use event::{EventContext, event};
pub use invoker::{InvokeError, Invoker};
pub(crate) use pages::BASE as PAGES;
pub use reply::{MalformedReply, reply};
pub use routes::{Matched, RouteError, Routes};
pub use server::{Gateway, MAX_BODY_BYTES, MAX_HEADER_BYTES};
