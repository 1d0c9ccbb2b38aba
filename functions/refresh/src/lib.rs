//! `POST /auth/refresh`: exchanges the refresh token of a live session for new tokens.

use std::sync::Arc;

use auth::KeySource;
use identity::{Account, MailId, Standing};
use issuer::{Issuer, RefreshToken, SessionGrant, Tokens};
use keys::TableKeys;
use process::Metric;
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{Grace, Refreshed, Rotation, Rotations, Session, SessionLimits};
use web::{Body, BootError, ByRefreshToken, Endpoint, Json, Problem, Route, World};

/// The route.
pub struct RefreshRoute {
    rotations: Rotations,
    issuer: Issuer,
    keys: TableKeys,
    world: World,
}

/// The body of a request.
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
        issuer::Config,
        PeppersSecret,
        SessionLimits,
        Grace,
    );
    type Input = Body<Refresh>;
    type Output = Json<Tokens>;

    async fn open(
        ((database, table, keys), tokens, peppers, limits, grace): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let database = dynamo::connect(&database.within(grace.operation_deadline()));
        // Boxed: together they would be too large for a stack to hold gladly.
        let (keys, issuer) = futures_util::join!(
            TableKeys::open(&keys, database.clone(), Arc::clone(&world.clock)),
            Issuer::open(tokens, peppers.open(world), world),
        );
        let rotations = Rotations::new(&table, database, limits, grace);
        Ok(Self { rotations, issuer, keys, world: world.clone() })
    }

    async fn handle(&self, (): (), Body(body): Body<Refresh>) -> Result<Json<Tokens>, Problem> {
        // Load everything that can fail before rotating: if the session rotates and no answer follows, the
        // user loses the session.
        let issuer = self.issuer.ready().await?;
        // Nothing is read or written for a token that we did not make.
        let token = issuer.presented(&body.refresh_token)?;
        let epoch = self.keys.epoch().await?;
        let now = self.world.clock.now();
        let rotation = Rotation {
            user: token.sub,
            session: token.sid,
            counter: token.counter,
            pepper: issuer.pepper(),
            notice: MailId::new(now, &*self.world.random),
        };
        let refreshed = self.rotations.refresh(rotation, now);
        let account = self.rotations.account(token.sub);
        let (refreshed, account) = futures_util::try_join!(refreshed, account)?;
        let session = live(refreshed, token)?;
        if epoch.refuses(session.created_at.as_second()) {
            return Err(refused("the session epoch has passed"));
        }
        let account = active(account, &session)?;
        let tokens = issuer.issue(SessionGrant {
            account: &account,
            session: session.id,
            ver: session.ver,
            auth_time: session.created_at,
            counter: session.chain.counter,
            pepper: &session.pepper,
            ends_at: session.ends_at,
        });
        Ok(Json(tokens?))
    }
}

/// The same answer for every failure. Only the log contains the reason.
fn refused(reason: &'static str) -> Problem {
    Problem::invalid_token().because(reason)
}

fn live(refreshed: Refreshed, token: RefreshToken) -> Result<Session, Problem> {
    match refreshed {
        Refreshed::Live(session, _) => Ok(*session),
        Refreshed::Reused => {
            let (user_id, session_id) = (token.sub.to_string(), token.sid.to_string());
            Metric::ReuseDetected.add(1.0);
            tracing::warn!(event = "refresh_token_reused", user_id, session_id, "security");
            Err(refused("the refresh token had been superseded: its session has been ended"))
        }
        Refreshed::Ahead => Err(refused("the refresh token is ahead of its session")),
        Refreshed::Ended => Err(refused("the session has ended")),
    }
}

/// The account, if it is active and the session is still valid.
fn active(account: Option<Account>, session: &Session) -> Result<Account, Problem> {
    let account = account.ok_or_else(|| refused("the account no longer exists"))?;
    if account.standing == Standing::Disabled {
        return Err(refused("the account is disabled"));
    }
    if account.ver != session.ver {
        return Err(refused("the session epoch has passed"));
    }
    Ok(account)
}
