//! `POST /auth/password/reset`: sets a new password with an emailed code.

use codes::{PresentedCode, PresentedError, Redemption};
use events::{Occasion, Origin};
use identity::{Account, MailedFor};
use passwords::{Hasher, Password, Policy};
use process::Fault;
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{CodeRecord, Codes, NewMail, Notice, Outbox, Redeemed, Resets};
use throttle::{Familiarity, Throttle};
use web::{
    Body, BootError, Client, Endpoint, FieldError, NoContent, Problem, Public, Route, World,
};

/// Resets passwords with emailed codes.
pub struct PasswordResetRoute {
    redemption: Redemption,
    throttle: Throttle,
    resets: Resets,
    outbox: Outbox,
    hasher: Hasher,
    policy: Policy,
    world: World,
}

/// The request body: `new_password`, and either `token` or both `email` and `code`.
#[derive(Deserialize)]
pub struct Reset {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    code: Option<String>,
    new_password: String,
}

impl Route for PasswordResetRoute {
    const NAME: &'static str = "password-reset";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/password/reset")];
    type Access = Public;
    type Settings = (dynamo::Config, store::Config, throttle::Config, PeppersSecret, Policy);
    type Input = (Client, Body<Reset>);
    type Output = NoContent;

    async fn open(
        (database, table, attempts, peppers, policy): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        let codes = Codes::new(&table, database.clone());
        let throttle = Throttle::open(&attempts, database.clone(), peppers.clone(), world);
        Ok(Self {
            redemption: Redemption::new(codes, throttle.clone(), peppers, world),
            throttle,
            resets: Resets::new(&table, database.clone()),
            outbox: Outbox::new(&table, database),
            hasher: Hasher::new(),
            policy,
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(reset)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let Reset { token, email, code, new_password } = reset;
        let presented = PresentedCode::of(token, email, code).map_err(presented_problem)?;
        // Check the password as far as possible before looking up the code: a forbidden password must not use up a try.
        let password =
            Password::parse(new_password).map_err(|error| refused(invalid_password(&error)))?;
        self.check(&password, None)?;
        let network = client.network;
        let found = self.redemption.find(MailedFor::PasswordReset, &presented, network);
        let found = found.await?;
        // A code is valid only while the account has the address to which the code was mailed.
        let has_address = |account: &Account| {
            let email = account.email.as_ref();
            email.is_some_and(|email| email.canonical() == found.code.address.canonical())
        };
        if !has_address(&found.account) {
            return Err(Problem::invalid_code().because("the account has another address"));
        }
        if let Err(problem) = self.check(&password, Some(&found.account)) {
            found.keep().await;
            return Err(problem);
        }
        let (code, account) = (found.code.clone(), found.account.clone());
        let origin = Origin { user_agent: client.user_agent, network };
        let reset = self.reset(&code, &account, &password, origin);
        let ((), found) = found.carry_out(reset).await?;
        // The password is set. A failure to update the counters must not turn this success into an error.
        let recovered = self.throttle.recovered(&account, network);
        let ((), recovered) = futures_util::join!(found.succeeded(), recovered);
        match recovered {
            Ok(Familiarity::New) => {
                self.outbox.notify(&account, Notice::NewNetwork, &self.world).await;
            }
            Ok(Familiarity::Usual) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    event = "counters_not_told",
                    error,
                    "a counter or a known network was not updated"
                );
            }
        }
        Ok(NoContent)
    }
}

impl PasswordResetRoute {
    async fn reset(
        &self,
        code: &CodeRecord,
        account: &Account,
        password: &Password,
        origin: Origin,
    ) -> Result<(), Problem> {
        let hash = self.hasher.hash(password, &*self.world.random).await?;
        let now = self.world.clock.now();
        let notice = NewMail::notice(account, Notice::PasswordChanged, now, &*self.world.random);
        let hash = hash.into_stored();
        let occasion = Occasion::new(now, &*self.world.random, origin);
        let redeemed = self.resets.reset(code, account, hash, notice.as_ref(), &occasion).await?;
        if redeemed != Redeemed::Done {
            let reason = "the code or the account changed concurrently";
            return Err(Problem::invalid_code().because(reason));
        }
        Ok(())
    }

    fn check(&self, password: &Password, account: Option<&Account>) -> Result<(), Problem> {
        let username = account.map(|account| &account.username);
        let email = account.and_then(|account| account.email.as_ref());
        let violations = self.policy.violations(password, username, email)?;
        if violations.is_empty() {
            return Ok(());
        }
        Err(Problem::invalid_input(violations.iter().map(invalid_password).collect()))
    }
}

fn presented_problem(error: PresentedError) -> Problem {
    match error {
        PresentedError::Missing(member) => {
            Problem::missing_member(member, "Specify either `token`, or `email` and `code`.")
        }
        PresentedError::Both => {
            Problem::invalid_request("Specify either `token`, or `email` and `code`, not both.")
        }
        PresentedError::NotEightDigits => {
            let detail = "The code must have eight digits.".to_owned();
            refused(FieldError { field: "code", code: "invalid_format", detail })
        }
    }
}

fn refused(error: FieldError) -> Problem {
    Problem::invalid_input(vec![error])
}

fn invalid_password(error: &impl Fault) -> FieldError {
    FieldError::new("new_password", "password", error)
}
