//! `GET /api/protected_route_super_admin`: answers callers whose token has the role `super_admin`. The route
//! does not read the account.

use identity::SuperAdmin;
use token_guard::{Caller, Has, TokenGuard};
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Answers callers whose token has the role `super_admin`.
pub struct ProtectedRouteSuperAdmin;

impl Route for ProtectedRouteSuperAdmin {
    const NAME: &'static str = "protected-route-super-admin";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/api/protected_route_super_admin")];
    type Access = Has<SuperAdmin>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: Caller<SuperAdmin>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("You have accessed a protected super admin route.")))
    }
}
