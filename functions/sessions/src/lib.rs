//! `GET /auth/sessions` lists the sessions of the caller, `DELETE /auth/sessions/{sid}` ends one.

use std::sync::Arc;

use auth::{CheckedCaller, KeySource, TokenRules, Verifier};
use identity::{Anyone, SessionId};
use jiff::Timestamp;
use keys::TableKeys;
use process::{BootError, Clock, Env, SystemClock};
use serde::Serialize;
use store::{Accounts, Session, Sessions};
use web::{
    Checked, CheckedAccount, Either, Endpoint, Guarded, Input, Json, Method, NoContent, Problem,
    Request, Route,
};

/// The route.
pub struct SessionsRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
}

impl Guarded for SessionsRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for SessionsRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

/// The requested operation.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The list.
    List,
    /// The end of a session.
    End(SessionId),
}

impl Input for Asked {
    fn read(request: &Request) -> Result<Self, Problem> {
        if request.method() != Method::DELETE {
            return Ok(Self::List);
        }
        request.path_id("sid").map(Self::End)
    }
}

/// The caller's sessions, the latest first.
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
    network: Option<String>,
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
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/auth/sessions";
    const FURTHER: &'static [Endpoint] =
        &[Endpoint { method: "DELETE", path: "/auth/sessions/{sid}" }];
    type Access = CheckedAccount<Anyone>;
    type Input = Asked;
    type Output = Either<Json<SessionList>, NoContent>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let table = store::Config::read(reader);
            let rules = TokenRules::read(reader);
            Some((database?, keys?, table?, rules?))
        })?;
        let client = dynamo::connect(&database);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = TableKeys::open(&keys, client.clone(), Arc::clone(&clock)).await;
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            sessions: Sessions::new(&table, client),
            clock,
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        asked: Asked,
    ) -> Result<Self::Output, Problem> {
        let user = caller.user_id();
        match asked {
            Asked::List => {
                let (ver, now) = (caller.account().ver, self.clock.now());
                let epoch = self.verifier.keys().epoch().await?;
                let mut sessions = self.sessions.of(user).await?;
                sessions.retain(|session| {
                    session.counts(ver, now) && !epoch.refuses(session.created_at.as_second())
                });
                sessions.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.id)));
                let current = caller.session_id();
                let row = |session| SessionBody::of(session, current);
                let sessions = sessions.into_iter().map(row).collect();
                Ok(Either::Left(Json(SessionList { sessions })))
            }
            Asked::End(session) => {
                if self.sessions.end(user, session).await? {
                    Ok(Either::Right(NoContent))
                } else {
                    Err(Problem::not_found())
                }
            }
        }
    }
}
