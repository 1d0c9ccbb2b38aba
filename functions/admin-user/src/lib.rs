//! Changes to `/admin/users/{id}`: `PATCH` changes the account, `DELETE` deletes it, `PUT …/roles` replaces its roles,
//! `POST …/logout` ends its sessions, and `POST …/factors/reset` removes its second factors (there are none yet).

mod change;
mod permission;

use account_guard::{AccountGuard, Fresh, FreshCaller};
use change::{Change, ChangeBody};
use deletion::{AccountDeletion, Receipt};
use events::{Occasion, Origin};
use identity::{Account, Admin, CanonicalName, Email, Roles, UserId};
use peppers::{NameQuarantine, Peppers};
use secrets::{Cached, PeppersSecret};
use serde::Deserialize;
use std::sync::Arc;
use store::{
    AddressClaim, Administration, Authority, ChangeError, Deletions, Edited, NewMail, Notice,
};
use throttle::Throttle;
use web::{
    Body, BootError, Client, Either, Endpoint, IfMatch, Input, Json, NoContent, Path, Problem,
    Request, Route, Tagged, UserDetails, World,
};

const USER: Endpoint = Endpoint::patch("/admin/users/{id}");
const DELETE: Endpoint = Endpoint::delete("/admin/users/{id}");
const ROLES: Endpoint = Endpoint::put("/admin/users/{id}/roles");
const LOGOUT: Endpoint = Endpoint::post("/admin/users/{id}/logout");
const FACTORS: Endpoint = Endpoint::post("/admin/users/{id}/factors/reset");

/// Changes accounts on behalf of administrators.
pub struct AdminUserRoute {
    administration: Administration,
    deletion: AccountDeletion,
    peppers: Arc<Cached<Peppers>>,
    throttle: Throttle,
    claim: AddressClaim,
    world: World,
}

/// When an account claims an address: at once, or only once it is confirmed.
pub struct Claiming(AddressClaim);

impl process::Settings for Claiming {
    /// Reads `EMAIL_VERIFICATION`.
    fn read(reader: &process::Reader<'_>) -> Option<Self> {
        AddressClaim::read(reader).map(Self)
    }
}

/// A requested change.
#[derive(Debug)]
pub struct Operation {
    user: UserId,
    expected: IfMatch,
    action: Action,
    client: Client,
}

/// What a request asks for.
#[derive(Debug)]
enum Action {
    Change(ChangeBody),
    Delete,
    SetRoles(Roles),
    LogOut,
    ResetFactors,
}

/// The path parameters.
#[derive(Deserialize)]
struct OneUser {
    id: UserId,
}

/// The body of `PUT …/roles`.
#[derive(Deserialize)]
struct RolesBody {
    roles: Roles,
}

impl Input for Operation {
    fn read(request: &Request) -> Result<Self, Problem> {
        let Path(OneUser { id: user }) = Path::read(request)?;
        let mut expected = IfMatch::read(request)?;
        let endpoint = request.endpoint();
        let is = |one: &Endpoint| endpoint == Some(one);
        let action = if is(&USER) {
            expected = expected.required()?;
            Action::Change(Body::read(request)?.0)
        } else if is(&DELETE) {
            Action::Delete
        } else if is(&ROLES) {
            let Body(RolesBody { roles }) = Body::read(request)?;
            Action::SetRoles(roles)
        } else if is(&LOGOUT) {
            Action::LogOut
        } else if is(&FACTORS) {
            Action::ResetFactors
        } else {
            return Err(Problem::not_found());
        };
        Ok(Self { user, expected, action, client: Client::read(request)? })
    }
}

impl Route for AdminUserRoute {
    const NAME: &'static str = "admin-user";
    const ENDPOINTS: &'static [Endpoint] = &[USER, DELETE, ROLES, LOGOUT, FACTORS];
    type Access = Fresh<Admin>;
    type Settings = (throttle::Config, PeppersSecret, NameQuarantine, Claiming);
    type Input = Operation;
    type Output = Either<Tagged<Json<UserDetails>>, Either<Json<Receipt>, NoContent>>;

    async fn open(
        (attempts, peppers, quarantine, Claiming(claim)): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database, peppers) = (guard.users(), guard.database(), peppers.open(world));
        Ok(Self {
            administration: Administration::new(users, database.clone()),
            deletion: AccountDeletion::new(Deletions::new(users, database.clone()), quarantine),
            throttle: Throttle::open(&attempts, database.clone(), Arc::clone(&peppers), world),
            peppers,
            claim,
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: FreshCaller<Admin>,
        operation: Operation,
    ) -> Result<Self::Output, Problem> {
        let Operation { user, expected, action, client } = operation;
        let request = Requested { caller: &caller, user, expected: &expected, client };
        let done = match action {
            Action::Change(body) => {
                let account = self.edit(&request, &Change::Members(body.validate()?)).await;
                account.map(tagged)
            }
            Action::SetRoles(roles) => self.edit(&request, &Change::Roles(roles)).await.map(tagged),
            Action::Delete => {
                let receipt = self.delete(&request).await;
                receipt.map(|receipt| Either::Right(Either::Left(Json(receipt))))
            }
            Action::LogOut => self.edit(&request, &Change::EndSessions).await.map(no_content),
            // There are no second factors yet.
            Action::ResetFactors => self.edit(&request, &Change::None).await.map(no_content),
        };
        match done {
            Err(problem) if problem.code() == "insufficient_role" => {
                Err(self.lost_race(&caller, user, problem).await)
            }
            done => done,
        }
    }
}

/// The response that contains the changed account.
fn tagged(account: Account) -> <AdminUserRoute as Route>::Output {
    Either::Left(Tagged(account.revision, Json(account.into())))
}

/// The response to a change that returns no content.
fn no_content(_: Account) -> <AdminUserRoute as Route>::Output {
    Either::Right(Either::Right(NoContent))
}

/// A request to change or delete the account `user`.
struct Requested<'a> {
    caller: &'a FreshCaller<Admin>,
    user: UserId,
    expected: &'a IfMatch,
    client: Client,
}

impl Requested<'_> {
    /// The rights of the caller, which are checked again when the change is made.
    fn authority(&self) -> Authority {
        Authority::of(self.caller.account(), self.caller.session_id())
    }
}

impl AdminUserRoute {
    /// Describes a request for its event: the event's id and time, the administrator, and the origin.
    fn occasion(&self, request: &Requested<'_>) -> Occasion {
        let Client { user_agent, network } = request.client.clone();
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        Occasion::new(now, random, Origin { network, user_agent }).by(request.caller.user_id())
    }

    async fn delete(&self, request: &Requested<'_>) -> Result<Receipt, Problem> {
        let Requested { caller, user, expected, .. } = request;
        let occasion = self.occasion(request);
        let peppers = self.peppers.get().await?;
        let permit = |account: &Account| {
            permission::check(caller.account(), account, &Change::None)?;
            expected.check(account.revision)
        };
        let authority = request.authority();
        self.deletion.delete(*user, &occasion, &peppers, Some(&authority), permit).await
    }

    async fn edit(&self, request: &Requested<'_>, change: &Change) -> Result<Account, Problem> {
        let Requested { caller, user, expected, .. } = request;
        let occasion = || self.occasion(request);
        let peppers = self.peppers.get().await?;
        let edit = |account: &Account| {
            permission::check(caller.account(), account, change)?;
            expected.check(account.revision)?;
            let after = change.apply(account, self.claim)?;
            let notice = self.notice(account, &after);
            Ok::<_, Problem>((after, notice))
        };
        let Edited { before, after } = self
            .administration
            .on_behalf_of(request.authority())
            .edit(*user, occasion, &*peppers, edit)
            .await?;
        let address = |account: &Account| account.email.as_ref().map(Email::canonical).cloned();
        if address(&before) != address(&after) || before.email_standing != after.email_standing {
            let addresses: Vec<CanonicalName> =
                [address(&before), address(&after)].into_iter().flatten().collect();
            self.throttle.addresses_changed(&addresses).await;
        }
        Ok(after)
    }

    /// The notice to the previous address, if it was confirmed and the account no longer has it.
    fn notice(&self, before: &Account, after: &Account) -> Option<NewMail> {
        let address = |account: &Account| account.email.as_ref().map(Email::canonical).cloned();
        if address(before) == address(after) {
            return None;
        }
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        NewMail::notice(before, Notice::EmailChanged, now, random)
    }

    /// The response to a caller who lacks the required role. If two super administrators demote each other
    /// concurrently, one of them may lose the role before their own request passes the permission check. That request
    /// gets the same response as if the conflict had been detected only at the write.
    async fn lost_race(
        &self,
        caller: &FreshCaller<Admin>,
        user: UserId,
        problem: Problem,
    ) -> Problem {
        // A change to the caller's own account is not part of this race.
        let is_own = user == caller.user_id();
        if is_own || !caller.claims().roles.contains(identity::Role::SuperAdmin) {
            return problem;
        }
        match self.administration.is_last_super_admin(user).await {
            Ok(true) => Problem::from(ChangeError::LastSuperAdmin),
            Ok(false) => problem,
            Err(error) => error.into(),
        }
    }
}
