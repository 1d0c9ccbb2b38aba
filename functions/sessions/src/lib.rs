//! `GET /auth/sessions` lists the caller's sessions, and `DELETE /auth/sessions/{sid}` ends one of them.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use events::{Occasion, Origin};
use identity::{Anyone, Network, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Endings, Session, Sessions};
use web::{
    BootError, Client, Either, Endpoint, Input, Json, Method, NoContent, Path, Problem, Request,
    Route, World,
};

/// Lists and ends the caller's sessions.
pub struct SessionsRoute {
    guard: AccountGuard,
    sessions: Sessions,
    endings: Endings,
    world: World,
}

/// The requested operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List the sessions.
    List,
    /// End the session with this id.
    End(SessionId),
}

/// The parameters of `/auth/sessions/{sid}`.
#[derive(Deserialize)]
struct OneSession {
    sid: SessionId,
}

impl Input for Operation {
    fn read(request: &Request) -> Result<Self, Problem> {
        if request.method() != Method::DELETE {
            return Ok(Self::List);
        }
        let Path(OneSession { sid }) = Path::read(request)?;
        Ok(Self::End(sid))
    }
}

/// The caller's sessions, latest first.
#[derive(Serialize)]
pub struct SessionList {
    sessions: Vec<SessionBody>,
}

/// A session as its owner sees it.
#[derive(Serialize)]
struct SessionBody {
    sid: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    user_agent: Option<String>,
    network: Option<Network>,
    current: bool,
}

impl SessionBody {
    fn of(session: Session, current: SessionId) -> Self {
        Self {
            sid: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.ends_at,
            user_agent: session.user_agent,
            network: session.network,
            current: session.id == current,
        }
    }
}

impl Route for SessionsRoute {
    const NAME: &'static str = "sessions";
    const ENDPOINTS: &'static [Endpoint] =
        &[Endpoint::get("/auth/sessions"), Endpoint::delete("/auth/sessions/{sid}")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = (Client, Operation);
    type Output = Either<Json<SessionList>, NoContent>;

    async fn open((): (), guard: &AccountGuard, world: &World) -> Result<Self, BootError> {
        let sessions = Sessions::new(guard.users(), guard.database().clone());
        let endings = Endings::new(guard.users(), guard.database().clone());
        Ok(Self { guard: guard.clone(), sessions, endings, world: world.clone() })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, operation): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let user = caller.user_id();
        match operation {
            Operation::List => {
                let (epoch, now) = (caller.account().epoch, self.world.clock.now());
                let global = self.guard.epoch().await?;
                let mut sessions = self.sessions.of(user).await?;
                sessions.retain(|session| {
                    session.is_valid(epoch, now) && !global.refuses(session.created_at.as_second())
                });
                sessions.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.id)));
                let current = caller.session_id();
                let row = |session| SessionBody::of(session, current);
                let sessions = sessions.into_iter().map(row).collect();
                Ok(Either::Left(Json(SessionList { sessions })))
            }
            Operation::End(session) => {
                let origin = Origin { user_agent: client.user_agent, network: client.network };
                let occasion = Occasion::new(self.world.clock.now(), &*self.world.random, origin);
                if self.endings.end(user, session, &occasion).await? {
                    Ok(Either::Right(NoContent))
                } else {
                    Err(Problem::not_found())
                }
            }
        }
    }
}
