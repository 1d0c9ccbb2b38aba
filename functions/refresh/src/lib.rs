//! `POST /auth/refresh`: exchanges the refresh token of a valid session for new tokens.

use std::sync::Arc;

use keys::TableKeys;
use secrets::PeppersSecret;
use serde::Deserialize;
use signin::{Origin, SignIn, Tokens};
use store::{Grace, Rotations, SessionLimits};
use web::{Body, BootError, ByRefreshToken, Client, Endpoint, Json, Problem, Route, World};

/// Refreshes sessions.
pub struct RefreshRoute {
    rotations: Rotations,
    signin: SignIn,
    keys: TableKeys,
}

/// The request body.
#[derive(Deserialize)]
pub struct Refresh {
    refresh_token: String,
}

impl Route for RefreshRoute {
    const NAME: &'static str = "refresh";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/refresh")];
    type Access = ByRefreshToken;
    type Settings = (
        (dynamo::Config, store::Config, keys::Config),
        signin::Config,
        PeppersSecret,
        SessionLimits,
        Grace,
    );
    type Input = (Client, Body<Refresh>);
    type Output = Json<Tokens>;

    async fn open(
        ((database, table, keys), tokens, peppers, limits, grace): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let database = dynamo::connect(&database.within(grace.operation_deadline()));
        let (keys, signin) = futures_util::join!(
            TableKeys::open(&keys, database.clone(), Arc::clone(&world.clock)),
            SignIn::open(tokens, peppers.open(world), world),
        );
        let rotations = Rotations::new(&table, database, limits, grace);
        Ok(Self { rotations, signin, keys })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(body)): Self::Input,
    ) -> Result<Json<Tokens>, Problem> {
        let signin = self.signin.ready().await?;
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let tokens = signin.refresh(&self.rotations, &self.keys, &body.refresh_token, origin);
        Ok(Json(tokens.await?))
    }
}
