//! The texts of mails.

use askama::Template;
use jiff::Timestamp;

use crate::MailError;

/// What the first line of a plain text begins with.
const SUBJECT: &str = "Subject: ";

/// A mail, before its text is made.
pub enum Letter<'a> {
    /// With a code to set a new password.
    PasswordReset(Coded<'a>),
    /// With a code to confirm an address.
    EmailVerification(Coded<'a>),
    /// That somebody else wanted this address.
    AddressTaken(Told<'a>),
    /// That the password has been changed.
    PasswordChanged(Told<'a>),
    /// That another address has been asked for.
    EmailChangeRequested(Told<'a>),
    /// That the address is another.
    EmailChanged(Told<'a>),
    /// That a session has been ended since a token was used twice.
    SessionReused(Told<'a>),
    /// That somebody has signed in from somewhere new.
    NewNetwork(Told<'a>),
}

/// What is in a mail with a code.
pub struct Coded<'a> {
    /// The account's name.
    pub username: &'a str,
    /// The token of the link.
    pub token: &'a str,
    /// The eight digits.
    pub digits: &'a str,
    /// How long they count, in minutes.
    pub minutes: i64,
}

/// What is in a mail that tells something.
pub struct Told<'a> {
    /// The account's name.
    pub username: &'a str,
    /// When it happened.
    pub time: Timestamp,
}

/// A text, ready to be sent.
pub struct Text {
    /// The subject: one line.
    pub subject: String,
    /// The plain text.
    pub plain: String,
    /// The same as HTML.
    pub html: String,
}

/// The two templates of a mail with a code.
macro_rules! coded {
    ($kind:ident, $plain:literal, $html:literal) => {
        mod $kind {
            #[derive(askama::Template)]
            #[template(path = $plain, escape = "none")]
            pub(super) struct Plain<'a> {
                pub(super) product: &'a str,
                pub(super) username: &'a str,
                pub(super) link: &'a str,
                pub(super) digits: &'a str,
                pub(super) minutes: i64,
            }

            #[derive(askama::Template)]
            #[template(path = $html)]
            pub(super) struct Html<'a> {
                pub(super) product: &'a str,
                pub(super) username: &'a str,
                pub(super) link: &'a str,
                pub(super) digits: &'a str,
                pub(super) minutes: i64,
            }

            pub(super) fn render(
                product: &str,
                link: &str,
                with: &super::Coded<'_>,
            ) -> Result<super::Text, crate::MailError> {
                let super::Coded { username, digits, minutes, .. } = *with;
                super::both(
                    &Plain { product, username, link, digits, minutes },
                    &Html { product, username, link, digits, minutes },
                )
            }
        }
    };
}

/// The two templates of a mail that tells something.
macro_rules! told {
    ($kind:ident, $plain:literal, $html:literal) => {
        mod $kind {
            #[derive(askama::Template)]
            #[template(path = $plain, escape = "none")]
            pub(super) struct Plain<'a> {
                pub(super) product: &'a str,
                pub(super) username: &'a str,
                pub(super) time: &'a str,
            }

            #[derive(askama::Template)]
            #[template(path = $html)]
            pub(super) struct Html<'a> {
                pub(super) product: &'a str,
                pub(super) username: &'a str,
                pub(super) time: &'a str,
            }

            pub(super) fn render(
                product: &str,
                with: &super::Told<'_>,
            ) -> Result<super::Text, crate::MailError> {
                let time = &with.time.strftime("%Y-%m-%d %H:%M UTC").to_string();
                let username = with.username;
                super::both(&Plain { product, username, time }, &Html { product, username, time })
            }
        }
    };
}

coded!(password_reset, "password_reset.txt", "password_reset.html");
coded!(email_verification, "email_verification.txt", "email_verification.html");
told!(address_taken, "address_taken.txt", "address_taken.html");
told!(password_changed, "password_changed.txt", "password_changed.html");
told!(email_change_requested, "email_change_requested.txt", "email_change_requested.html");
told!(email_changed, "email_changed.txt", "email_changed.html");
told!(session_reused, "session_reused.txt", "session_reused.html");
told!(new_network, "new_network.txt", "new_network.html");

/// Makes both texts, and takes the subject off the plain one.
fn both(plain: &impl Template, html: &impl Template) -> Result<Text, MailError> {
    let fault = |error: askama::Error| MailError::Text(Box::new(error));
    let (plain, html) = (plain.render().map_err(fault)?, html.render().map_err(fault)?);
    let (subject, plain) = plain
        .strip_prefix(SUBJECT)
        .and_then(|rest| rest.split_once("\n\n"))
        .ok_or_else(|| MailError::Text("a text does not begin with its subject".into()))?;
    Ok(Text { subject: subject.to_owned(), plain: plain.to_owned(), html })
}

impl Letter<'_> {
    /// What kind of mail it is: the name of its templates.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PasswordReset(_) => "password_reset",
            Self::EmailVerification(_) => "email_verification",
            Self::AddressTaken(_) => "address_taken",
            Self::PasswordChanged(_) => "password_changed",
            Self::EmailChangeRequested(_) => "email_change_requested",
            Self::EmailChanged(_) => "email_changed",
            Self::SessionReused(_) => "session_reused",
            Self::NewNetwork(_) => "new_network",
        }
    }

    /// Its text. `links` is what a link begins with.
    ///
    /// # Errors
    /// When a template is not usable.
    pub(crate) fn render(&self, product: &str, links: &str) -> Result<Text, MailError> {
        // A token of ours has no character that would have to be escaped in a URL.
        let link = |page: &str, with: &Coded<'_>| format!("{links}/{page}?token={}", with.token);
        match self {
            Self::PasswordReset(with) => {
                password_reset::render(product, &link("reset-password", with), with)
            }
            Self::EmailVerification(with) => {
                email_verification::render(product, &link("verify-email", with), with)
            }
            Self::AddressTaken(with) => address_taken::render(product, with),
            Self::PasswordChanged(with) => password_changed::render(product, with),
            Self::EmailChangeRequested(with) => email_change_requested::render(product, with),
            Self::EmailChanged(with) => email_changed::render(product, with),
            Self::SessionReused(with) => session_reused::render(product, with),
            Self::NewNetwork(with) => new_network::render(product, with),
        }
    }
}
