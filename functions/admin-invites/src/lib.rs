//! `POST /admin/invites`: creates an invitation to register.

use std::sync::Arc;

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::Admin;
use jiff::{SignedDuration, Timestamp};
use peppers::{Code, CodeKind, Peppers};
use secrets::{Cached, PeppersSecret};
use serde::Serialize;
use store::Invites;
use web::{BootError, Created, Endpoint, NoBody, Problem, Route, World};

/// How long an invitation is valid.
const VALID_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Creates invitations.
pub struct AdminInvitesRoute {
    invites: Invites,
    peppers: Arc<Cached<Peppers>>,
    world: World,
}

/// A new invitation. The code appears only in this response; the table stores its MAC.
#[derive(Serialize)]
pub struct Invite {
    invite_code: String,
    expires_at: Timestamp,
}

impl Route for AdminInvitesRoute {
    const NAME: &'static str = "admin-invites";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/admin/invites")];
    type Access = Checked<Admin>;
    type Settings = PeppersSecret;
    type Input = NoBody;
    type Output = Created<Invite>;

    async fn open(
        peppers: PeppersSecret,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        Ok(Self {
            invites: Invites::new(guard.users(), guard.database().clone()),
            peppers: peppers.open(world),
            world: world.clone(),
        })
    }

    async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
        let now = self.world.clock.now();
        // Round down to a whole second, the precision of the table.
        let expires_at = Timestamp::from_second((now + VALID_FOR).as_second())
            .map_err(|_| Problem::internal())?;
        let peppers = self.peppers.get().await?;
        let (code, tag) = Code::generate(CodeKind::Invite, &peppers, now, &*self.world.random);
        self.invites.make(tag.as_str(), now, expires_at).await?;
        Ok(Created(Invite { invite_code: code.expose().to_owned(), expires_at }))
    }
}
