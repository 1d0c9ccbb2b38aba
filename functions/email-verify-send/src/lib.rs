//! `POST /auth/email/verify/send`: requests a mail with a code that confirms the caller's address.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::{Account, Anyone, Email, EmailStanding};
use keys::TableKeys;
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use store::{Accounts, NewMail, Outbox};
use throttle::{Postal, Throttle};
use web::{
    Accepted, Checked, CheckedAccount, Client, Guarded, Message, Method, NoBody, Problem, Route,
};

/// The route.
pub struct EmailVerifySendRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    outbox: Outbox,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Guarded for EmailVerifySendRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for EmailVerifySendRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for EmailVerifySendRoute {
    const NAME: &'static str = "email-verify-send";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/email/verify/send";
    type Access = CheckedAccount<Anyone>;
    type Input = (Client, NoBody);
    type Output = Accepted<Message>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules, attempts) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let table = store::Config::read(reader);
            let rules = TokenRules::read(reader);
            let attempts = throttle::Config::read(reader);
            Some((database?, keys?, table?, rules?, attempts?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let client = dynamo::connect(&database);
        let keys = TableKeys::open(&keys, client.clone(), Arc::clone(&clock)).await;
        let shared = (Arc::clone(&clock), Arc::clone(&random));
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            outbox: Outbox::new(&table, client.clone()),
            throttle: Throttle::open(&attempts, client, shared.0, shared.1),
            clock,
            random,
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, NoBody): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let network = client.network.map(|network| network.to_string());
        let asked = self.throttle.mail_request(network.as_deref()).await?;
        if let Some(address) = unverified(account) {
            let postage = self.throttle.postage(address.canonical(), network.as_deref());
            let (postage, asked) = asked.besides(Box::pin(postage)).await?;
            if let Postal::Paid(paid) = postage {
                let (now, address) = (self.clock.now(), address.clone());
                let (user, random) = (account.id, &*self.random);
                let mail = [NewMail::verification(user, account.ver, address, now, random)];
                let put = async { Ok::<_, Problem>(self.outbox.put(&mail).await?) };
                asked.and(paid).carry_out(Box::pin(put)).await?;
            }
        }
        Ok(Accepted(Message::new(
            "If your account has an address that is not confirmed, a mail to it is on its way.",
        )))
    }
}

/// The address that an account has or wants to have, if it is not verified.
fn unverified(account: &Account) -> Option<&Email> {
    match (&account.email, account.email_standing) {
        (Some(email), EmailStanding::Unverified) => Some(email),
        (Some(_), EmailStanding::Verified) => None,
        (None, _) => account.pending_email.as_ref(),
    }
}
