//! `POST /auth/logout`: ends the session that the access token belongs to. The operation is idempotent.

use identity::Anyone;
use store::Endings;
use token_guard::{Caller, SignedIn, TokenGuard};
use web::{BootError, Endpoint, NoBody, NoContent, Problem, Route, World};

/// Ends the session that the access token belongs to.
pub struct LogoutRoute {
    endings: Endings,
}

impl Route for LogoutRoute {
    const NAME: &'static str = "logout";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/logout")];
    // The account is not checked: a caller whose session has ended or whose account is disabled may still
    // sign out.
    type Access = SignedIn;
    type Settings = store::Config;
    type Input = NoBody;
    type Output = NoContent;

    async fn open(table: store::Config, guard: &TokenGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self { endings: Endings::new(&table, guard.database().clone()) })
    }

    async fn handle(&self, caller: Caller<Anyone>, _: NoBody) -> Result<NoContent, Problem> {
        self.endings.end(caller.user_id(), caller.session_id()).await?;
        Ok(NoContent)
    }
}
