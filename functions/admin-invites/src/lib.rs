//! `POST /admin/invites`: makes an invitation to register.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::Admin;
use jiff::{SignedDuration, Timestamp};
use keys::TableKeys;
use peppers::{Code, CodeKind, Peppers};
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use secrets::{Cached, CachedConfig};
use serde::Serialize;
use store::{Accounts, Invites};
use web::{Checked, CheckedAccount, Created, Guarded, Method, NoBody, Problem, Route};

/// How long an invitation is valid.
const VALID_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The route.
pub struct AdminInvitesRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    invites: Invites,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of an answer. The code is shown only here, once.
#[derive(Serialize)]
pub struct Invite {
    invite_code: String,
    expires_at: Timestamp,
}

impl Guarded for AdminInvitesRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for AdminInvitesRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for AdminInvitesRoute {
    const NAME: &'static str = "admin-invites";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/admin/invites";
    type Access = CheckedAccount<Admin>;
    type Input = NoBody;
    type Output = Created<Invite>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules, peppers) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let table = store::Config::read(reader);
            let rules = TokenRules::read(reader);
            let peppers = CachedConfig::read(reader, "PEPPERS_SECRET");
            Some((database?, keys?, table?, rules?, peppers?))
        })?;
        let client = dynamo::connect(&database);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = TableKeys::open(&keys, client.clone(), Arc::clone(&clock)).await;
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            invites: Invites::new(&table, client),
            peppers: peppers.open(Arc::clone(&clock)),
            clock,
            random: Arc::new(SystemRandom),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Admin>,
        _: NoBody,
    ) -> Result<Self::Output, Problem> {
        let now = self.clock.now();
        // In whole seconds, as it is stored.
        let expires_at = Timestamp::from_second((now + VALID_FOR).as_second())
            .map_err(|_| Problem::internal())?;
        let peppers = self.peppers.get().await?;
        let (code, tag) = Code::generate(CodeKind::Invite, &peppers, now, &*self.random);
        self.invites.make(tag.as_str(), caller.user_id(), now, expires_at).await?;
        Ok(Created(Invite { invite_code: code.expose().to_owned(), expires_at }))
    }
}
