//! `GET /api/protected_route`: answers any signed-in user. The route does not read the account.

use identity::Anyone;
use token_guard::{Caller, SignedIn, TokenGuard};
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Answers any signed-in user.
pub struct ProtectedRoute;

impl Route for ProtectedRoute {
    const NAME: &'static str = "protected-route";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/api/protected_route")];
    type Access = SignedIn;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: Caller<Anyone>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("You have accessed a protected route.")))
    }
}
