//! `GET /api/protected_route_user`: answers callers whose token has the role `user`. The route does not read the
//! account.

use identity::User;
use token_guard::{Caller, Has, TokenGuard};
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Answers callers whose token has the role `user`.
pub struct ProtectedRouteUser;

impl Route for ProtectedRouteUser {
    const NAME: &'static str = "protected-route-user";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/api/protected_route_user")];
    type Access = Has<User>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: Caller<User>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("You have accessed a protected user route.")))
    }
}
