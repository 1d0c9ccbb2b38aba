//! `POST /auth/email/change`: requests another address. It takes effect when a code mailed to it confirms it.
//! The old address gets notices if its owner has confirmed it.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::{Account, Anyone, Email, NameError};
use keys::TableKeys;
use passwords::{Password, PasswordError};
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use reauthentication::Reauthentication;
use serde::Deserialize;
use store::{Accounts, NewMail, Notice, Outbox};
use throttle::Postal;
use web::{
    Accepted, Body, Checked, CheckedAccount, Client, FieldError, Guarded, Message, Method, Problem,
    Route,
};

/// The route.
pub struct EmailChangeRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    reauthentication: Reauthentication,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of a request.
#[derive(Deserialize)]
pub struct Change {
    password: String,
    new_email: String,
}

impl Guarded for EmailChangeRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for EmailChangeRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for EmailChangeRoute {
    const NAME: &'static str = "email-change";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/email/change";
    type Access = CheckedAccount<Anyone>;
    type Input = (Client, Body<Change>);
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
            reauthentication: Reauthentication::open(&attempts, client, shared.0, shared.1),
            clock,
            random,
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(change)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let (password, address) = validate(change)?;
        let network = client.network.map(|network| network.to_string());
        let proof = self.reauthentication.prove(account, &password, network.as_deref());
        Box::pin(proof).await?;
        let throttle = self.reauthentication.throttle();
        let asked = throttle.mail_request(network.as_deref()).await?;
        let postage = throttle.postage(address.canonical(), network.as_deref());
        let (postage, asked) = asked.besides(Box::pin(postage)).await?;
        if let Postal::Paid(paid) = postage {
            let mails = self.mails(account, address);
            let put = async { Ok::<_, Problem>(self.outbox.put(&mails).await?) };
            asked.and(paid).carry_out(Box::pin(put)).await?;
        }
        Ok(Accepted(Message::new(
            "A mail to the new address is on its way. The address takes effect when it is confirmed.",
        )))
    }
}

impl EmailChangeRoute {
    /// The mail to the new address, and the one to the old address if its owner has confirmed it.
    fn mails(&self, account: &Account, address: Email) -> Vec<NewMail> {
        let (now, random) = (self.clock.now(), &*self.random);
        let old = account.email.as_ref().map(Email::canonical);
        let is_another = old != Some(address.canonical());
        let told = NewMail::notice(account, Notice::EmailChangeRequested, now, random);
        let asked = NewMail::verification(account.id, account.ver, address, now, random);
        [Some(asked), told.filter(|_| is_another)].into_iter().flatten().collect()
    }
}

/// Shape and size of the password, and all the rules of the address.
fn validate(change: Change) -> Result<(Password, Email), Problem> {
    match (Password::parse(change.password), Email::parse(&change.new_email)) {
        (Ok(password), Ok(address)) => Ok((password, address)),
        (password, address) => {
            let password = password.err().map(shape);
            let address = address.err().map(name_error);
            Err(Problem::invalid_input([password, address].into_iter().flatten().collect()))
        }
    }
}

fn shape(error: PasswordError) -> FieldError {
    FieldError { field: "password", code: error.code(), detail: format!("The password {error}.") }
}

fn name_error(error: NameError) -> FieldError {
    FieldError { field: "new_email", code: error.code(), detail: format!("The address {error}.") }
}
