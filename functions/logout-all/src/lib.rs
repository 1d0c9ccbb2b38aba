//! `POST /auth/logout-all`: ends all sessions of the caller.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use events::{Occasion, Origin};
use identity::Anyone;
use store::Epochs;
use web::{BootError, Client, Endpoint, NoContent, Problem, Route, World};

/// Ends all sessions of the caller.
pub struct LogoutAllRoute {
    epochs: Epochs,
    world: World,
}

impl Route for LogoutAllRoute {
    const NAME: &'static str = "logout-all";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/logout-all")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = Client;
    type Output = NoContent;

    async fn open((): (), guard: &AccountGuard, world: &World) -> Result<Self, BootError> {
        let epochs = Epochs::new(guard.users(), guard.database().clone());
        Ok(Self { epochs, world: world.clone() })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        client: Client,
    ) -> Result<Self::Output, Problem> {
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let occasion = Occasion::new(self.world.clock.now(), &*self.world.random, origin);
        self.epochs.raise(caller.user_id(), &occasion).await?;
        Ok(NoContent)
    }
}
