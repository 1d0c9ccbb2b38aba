//! A small local gateway that behaves as an API Gateway HTTP API in front of Lambda functions.
//!
//! It follows the developer guide of API Gateway ("Working with HTTP APIs"): routes by method and path, events of
//! payload format 2.0, the mapping of a function's result to a response, its own answers to unknown routes, large
//! requests and failing functions, and CORS by the template's configuration. It has no stages other than
//! `$default`, no authorizers and no throttling. In addition it serves the pages that local mails link to and the
//! call of the Lambda API that `cargo lambda invoke` makes, tells the developer how to fix a function, and refuses
//! requests from other sites.

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
