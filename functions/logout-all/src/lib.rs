//! `POST /auth/logout-all`: ends all sessions of the caller at once.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::Anyone;
use store::Epochs;
use web::{BootError, Endpoint, NoBody, NoContent, Problem, Route, World};

/// Ends all sessions of the caller.
pub struct LogoutAllRoute {
    epochs: Epochs,
}

impl Route for LogoutAllRoute {
    const NAME: &'static str = "logout-all";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/logout-all")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = NoBody;
    type Output = NoContent;

    async fn open((): (), guard: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self { epochs: Epochs::new(guard.users(), guard.database().clone()) })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        _: NoBody,
    ) -> Result<Self::Output, Problem> {
        self.epochs.raise(caller.user_id()).await?;
        Ok(NoContent)
    }
}
