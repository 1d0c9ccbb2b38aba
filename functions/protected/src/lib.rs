//! `GET /auth/protected`: greets signed-in users. The account is checked on every call.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::Anyone;
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Greets signed-in users.
pub struct ProtectedRoute;

impl Route for ProtectedRoute {
    const NAME: &'static str = "protected";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/protected")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        _: NoBody,
    ) -> Result<Self::Output, Problem> {
        let name = caller.account().username.as_str();
        Ok(Json(Message::new(format!("Hello, {name}!"))))
    }
}
