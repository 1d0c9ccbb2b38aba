//! Routes: one per Lambda function, each declaring who may call it.
//!
//! A function is a type that implements [`Route`], and a `main` that calls [`serve()`]. Who may call it
//! is [`Route::Access`], which has no default: a route that forgets it does not compile, and neither
//! does a handler that asks for another caller than the one declared.
//!
//! ```
//! # use process::{BootError, Env};
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const METHOD: Method = Method::GET;
//!     const PATH: &'static str = "/greeting";
//!     type Access = Public;
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn cold_start(_: &Env) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, _: (), _: NoBody) -> Result<Json<Message>, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! The same without the line that declares the access:
//!
//! ```compile_fail,E0046
//! # use process::{BootError, Env};
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const METHOD: Method = Method::GET;
//!     const PATH: &'static str = "/greeting";
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn cold_start(_: &Env) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, _: (), _: NoBody) -> Result<Json<Message>, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! Nor is a checked account admitted for a route that has no way to check it:
//!
//! ```compile_fail,E0277
//! # use identity::Admin;
//! # use process::{BootError, Env};
//! # use auth::CheckedCaller;
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const METHOD: Method = Method::GET;
//!     const PATH: &'static str = "/greeting";
//!     type Access = CheckedAccount<Admin>;
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn cold_start(_: &Env) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Json<Message>, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! This is the one crate that names `lambda_http`, and the one place where kinds of fault become
//! status codes.

mod access;
mod bearer;
mod body;
mod edge;
mod event;
mod json;
mod media_type;
mod metrics;
mod problem;
mod request;
mod response;
mod route;
mod serve;
mod shape;
mod telemetry;
mod user;
mod work;

pub use access::{
    Access, Admits, ByRefreshToken, Checked, CheckedAccount, Guarded, Has, Public, SignedIn,
};
pub use body::{Body, Input, MAX_BODY_BYTES, NoBody};
pub use edge::{EDGE_SECRET_HEADER, Edge, VIEWER_ADDRESS_HEADER};
pub use event::{EventHandler, handle_within};
pub use http::{Method, StatusCode};
pub use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse as AuthorizerResponse,
    ApiGatewayV2CustomAuthorizerV2Request as AuthorizerRequest, ApiGatewayV2httpRequest as Event,
    ApiGatewayV2httpResponse as EventResponse,
};
pub use metrics::NAMESPACE as METRICS_NAMESPACE;
pub use problem::{FieldError, Problem};
pub use request::{Client, Network, Request};
pub use response::{
    Accepted, AnyOrigin, Created, Either, Json, Message, NoContent, Output,
    Public as PublicDocument,
};
pub use route::{Description, Endpoint, Route};
pub use serve::{answer, answer_behind, answer_within, serve, serve_event};
pub use user::UserBody;
