//! Exchanges a refresh token for new tokens.

use auth::KeySource;
use events::{Occasion, Origin};
use identity::{Account, MailId, Standing};
use issuer::{RefreshToken, Tokens};
use process::Metric;
use store::{Refreshed, Rotation, Rotations, Session};

use crate::{Ready, SignInError};

impl Ready<'_> {
    /// Exchanges the refresh token of a live session for new tokens.
    ///
    /// `origin` is where the request comes from. It is recorded only if the token was reused, in the event that reports
    /// the reuse.
    ///
    /// Everything that can fail is loaded before the session rotates: if the session rotated and no response followed,
    /// the user would lose it. Nothing is read or written for a token that this service did not issue.
    ///
    /// # Errors
    /// When the token or its session is invalid ([`SignInError::RefreshToken`] or [`SignInError::Refused`]), or when a
    /// service cannot be reached (any other error).
    pub async fn refresh(
        &self,
        rotations: &Rotations,
        keys: &impl KeySource,
        token: &str,
        origin: Origin,
    ) -> Result<Tokens, SignInError> {
        let token = self.issuer.presented(token)?;
        let epoch = keys.epoch().await?;
        let now = self.world.clock.now();
        let occasion = Occasion::new(now, &*self.world.random, origin);
        let rotation = Rotation {
            user: token.sub,
            session: token.sid,
            counter: token.counter,
            pepper: self.issuer.pepper(),
            notice: MailId::new(now, &*self.world.random),
            occasion: &occasion,
        };
        let (refreshed, account) = futures_util::try_join!(
            rotations.refresh(rotation, now),
            rotations.account(token.sub)
        )?;
        let session = live(refreshed, token)?;
        if epoch.refuses(session.created_at.as_second()) {
            return Err(SignInError::Refused("the session epoch has passed"));
        }
        let account = active(account, &session)?;
        self.tokens(&account, &session)
    }
}

/// The session, if the token is its current one or was superseded within the grace period.
fn live(refreshed: Refreshed, token: RefreshToken) -> Result<Session, SignInError> {
    Err(SignInError::Refused(match refreshed {
        Refreshed::Live(session, _) => return Ok(*session),
        Refreshed::Reused => {
            let (user_id, session_id) = (token.sub.to_string(), token.sid.to_string());
            Metric::ReuseDetected.add(1.0);
            tracing::warn!(event = "refresh_token_reused", user_id, session_id, "security");
            "the refresh token had been superseded: its session has been ended"
        }
        Refreshed::Ahead => "the refresh token is ahead of its session",
        Refreshed::Ended => "the session has ended",
    }))
}

/// The account, if it is active and the session belongs to its current epoch.
fn active(account: Option<Account>, session: &Session) -> Result<Account, SignInError> {
    let account = account.ok_or(SignInError::Refused("the account no longer exists"))?;
    if account.standing == Standing::Disabled {
        return Err(SignInError::Refused("the account is disabled"));
    }
    if account.epoch != session.epoch {
        return Err(SignInError::Refused("the session epoch has passed"));
    }
    Ok(account)
}
