//! A small local gateway that behaves like an API Gateway HTTP API in front of Lambda functions.
//!
//! It follows API Gateway's developer guide ("Working with HTTP APIs"). It routes by method and path, sends events
//! in payload format 2.0, maps a function's result to a response, and applies the template's CORS configuration. If a
//! route is unknown, a request is too large or a function fails, the gateway itself responds. It has no stages other
//! than `$default`, no authorizers and no throttling.
//!
//! Unlike API Gateway, it also serves an overview and the API reference, answers the Lambda API call that
//! `cargo lambda invoke` makes, reports broken functions to the developer, and refuses requests from other sites.

mod cors;
mod event;
mod invoker;
mod reply;
mod routes;
mod server;
mod site;

pub use cors::{Cors, Origin};
pub use event::{EventContext, event};
pub use invoker::{InvokeError, Invoker};
pub use reply::{MalformedReply, reply};
pub use routes::{Matched, RouteError, Routes};
pub use server::{Gateway, MAX_BODY_BYTES, MAX_HEADER_BYTES};
pub(crate) use site::REFERENCE;
pub use site::Site;
