//! HTTP routes. A route serves one or more endpoints from one Lambda function, and declares who may call them.
//!
//! A function consists of a type that implements [`Route`], and a `main` that calls [`serve()`]. [`Route::Access`]
//! decides who may call the route. It has no default, so a route that does not declare it does not compile.
//!
//! ```
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Access = Public;
//!     type Settings = ();
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, (): (), _: NoBody) -> Result<Json<Message>, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! Without the line that declares the access, the same route does not compile:
//!
//! ```compile_fail,E0046
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Settings = ();
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn open((): (), (): &(), _: &World) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, (): (), _: NoBody) -> Result<Json<Message>, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! A route uses one of the existing access types:
//!
//! ```
//! # use web::*;
//! fn described<A: Access>() -> String {
//!     A::describe()
//! }
//!
//! assert_eq!(described::<Public>(), "anyone");
//! ```
//!
//! A route cannot define its own access type:
//!
//! ```compile_fail,E0277
//! # use web::*;
//! struct Everybody;
//!
//! impl Access for Everybody {
//!     type Gate = ();
//!     type Caller = ();
//!
//!     fn describe() -> String {
//!         "checked".to_owned()
//!     }
//!
//!     fn user_id((): &()) -> Option<identity::UserId> {
//!         None
//!     }
//!
//!     async fn admit((): &(), _: &http::HeaderMap) -> Result<(), Problem> {
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A gate verifies tokens with an [`auth::Verifier`]:
//!
//! ```
//! # use auth::{KeySource, Verifier};
//! # use web::*;
//! struct MyGate<K>(Verifier<K>);
//!
//! # impl<K: KeySource + 'static> Gate for MyGate<K> {
//! #     type Settings = ();
//! #     fn new((): (), _: &World) -> Self {
//! #         unimplemented!()
//! #     }
//! #     async fn warm(&self) {}
//! # }
//! impl<K: KeySource + 'static> TokenGate for MyGate<K> {
//!     type Keys = K;
//!
//!     fn verifier(&self) -> &Verifier<K> {
//!         &self.0
//!     }
//! }
//! ```
//!
//! A gate cannot use a verifier of another type:
//!
//! ```compile_fail,E0053
//! # use auth::{KeySource, Verifier};
//! # use web::*;
//! struct MyGate<K>(Verifier<K>);
//! struct Lenient<K>(Verifier<K>);
//!
//! # impl<K: KeySource + 'static> Gate for MyGate<K> {
//! #     type Settings = ();
//! #     fn new((): (), _: &World) -> Self {
//! #         unimplemented!()
//! #     }
//! #     async fn warm(&self) {}
//! # }
//! impl<K: KeySource + 'static> TokenGate for MyGate<K> {
//!     type Keys = K;
//!
//!     fn verifier(&self) -> &Lenient<K> {
//!         unimplemented!()
//!     }
//! }
//! ```
//!
//! Only this crate depends on `lambda_http`, and only this crate turns kinds of faults into status codes.

mod access;
mod bearer;
mod body;
mod edge;
mod input;
mod json;
mod media_type;
mod problem;
mod request;
mod response;
mod revision;
mod route;
mod serve;
mod shape;
mod text;
mod user;

pub use access::{
    Access, AccountGate, ByRefreshToken, ByToken, CheckedBy, FreshBy, Gate, Public, TokenGate,
};
pub use body::{Body, MAX_BODY_BYTES};
pub use edge::{EDGE_SECRET_HEADER, Edge, VIEWER_ADDRESS_HEADER};
pub use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
pub use input::{Bytes, Headers, Input, NoBody, Path, Query};
pub use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse as AuthorizerResponse,
    ApiGatewayV2CustomAuthorizerV2Request as AuthorizerRequest, ApiGatewayV2httpRequest as Event,
    ApiGatewayV2httpResponse as EventResponse,
};
pub use problem::{FieldError, Part, Problem};
pub use process::{BootError, World};
pub use request::{Client, Inputs, Request};
pub use response::{
    Accepted, AnyOrigin, Content, Created, Either, Json, Message, NoContent, Output,
    Public as PublicDocument, Redirect,
};
pub use revision::{IfMatch, Tagged};
pub use route::{DescribedEndpoint, Endpoint, Route, describe};
pub use serve::{Service, answer, serve};
pub use user::{UserBody, UserDetails};
