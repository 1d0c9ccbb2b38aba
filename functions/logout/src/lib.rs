//! `POST /auth/logout`: ends the session that the access token belongs to. The operation is idempotent.

use events::{Occasion, Origin};
use identity::Anyone;
use store::Endings;
use token_guard::{Caller, SignedIn, TokenGuard};
use web::{BootError, Client, Endpoint, NoContent, Problem, Route, World};

/// Ends the session that the access token belongs to.
pub struct LogoutRoute {
    endings: Endings,
    world: World,
}

impl Route for LogoutRoute {
    const NAME: &'static str = "logout";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/logout")];
    // The account is not checked: a caller whose session has ended or whose account is disabled may still
    // sign out.
    type Access = SignedIn;
    type Settings = store::Config;
    type Input = Client;
    type Output = NoContent;

    async fn open(
        table: store::Config,
        guard: &TokenGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let endings = Endings::new(&table, guard.database().clone());
        Ok(Self { endings, world: world.clone() })
    }

    async fn handle(&self, caller: Caller<Anyone>, client: Client) -> Result<NoContent, Problem> {
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let occasion = Occasion::new(self.world.clock.now(), &*self.world.random, origin);
        self.endings.end(caller.user_id(), caller.session_id(), &occasion).await?;
        Ok(NoContent)
    }
}
