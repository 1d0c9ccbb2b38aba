//! `GET /auth/admin`: greets administrators. The account is checked on every call.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::Admin;
use web::{BootError, Endpoint, Json, Message, NoBody, Problem, Route, World};

/// Greets administrators.
pub struct AdminRoute;

impl Route for AdminRoute {
    const NAME: &'static str = "admin";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/admin")];
    type Access = Checked<Admin>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<Message>;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("Welcome, Admin!")))
    }
}
