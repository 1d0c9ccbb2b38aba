//! `GET /api/protected_route_admin`: answers callers whose token has the role `admin`. The route
//! does not read the account.

use identity::Admin;
use token_guard::{Caller, Has, TokenGuard};
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Answers callers whose token has the role `admin`.
pub struct ProtectedRouteAdmin;

impl Route for ProtectedRouteAdmin {
    const NAME: &'static str = "protected-route-admin";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/api/protected_route_admin")];
    type Access = Has<Admin>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: Caller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("You have accessed a protected admin route.")))
    }
}
