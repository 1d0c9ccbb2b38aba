//! `GET /auth/me`: returns the caller's current account.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::Anyone;
use web::{BootError, Endpoint, Json, NoBody, Problem, Route, UserBody, World};

/// Returns the caller's account.
pub struct MeRoute;

impl Route for MeRoute {
    const NAME: &'static str = "me";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/auth/me")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = NoBody;
    type Output = Json<UserBody>;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        _: NoBody,
    ) -> Result<Self::Output, Problem> {
        Ok(Json(caller.account().clone().into()))
    }
}
