//! Renders the texts of emails.

use askama::Template;
use jiff::Timestamp;

use crate::MailError;

/// The prefix of the first line of a plain-text template.
const SUBJECT: &str = "Subject: ";

/// An email that has not been rendered yet.
pub enum Letter<'a> {
    /// A code to set a new password.
    PasswordReset {
        /// The username, if the owner has confirmed the address.
        username: Option<&'a str>,
        /// The code to set the password.
        code: CodeContent<'a>,
    },
    /// A code to confirm an address. The email does not contain the username: anyone can register with a stranger's
    /// address, and could put a message to the stranger into the username.
    EmailVerification(CodeContent<'a>),
    /// A code to confirm an address that replaces another one. Like `EmailVerification`, it omits the username.
    EmailChange(CodeContent<'a>),
    /// Someone entered the address for another account.
    AddressTaken(NoticeContent<'a>),
    /// The password was changed.
    PasswordChanged(NoticeContent<'a>),
    /// A new address was requested.
    EmailChangeRequested(NoticeContent<'a>),
    /// The new address has taken effect.
    EmailChanged(NoticeContent<'a>),
    /// A session was ended because a superseded refresh token was used.
    SessionReused(NoticeContent<'a>),
    /// The account was used from a new network.
    NewNetwork(NoticeContent<'a>),
}

/// The code in an email.
pub struct CodeContent<'a> {
    /// The token of the link.
    pub token: &'a str,
    /// The eight digits.
    pub digits: &'a str,
    /// The lifetime of both, in minutes.
    pub minutes: i64,
}

/// The content of a notice. Notices go only to addresses that their owners have confirmed.
pub struct NoticeContent<'a> {
    /// The username.
    pub username: &'a str,
    /// The time of the event.
    pub time: Timestamp,
}

/// The maximum number of digits in a name that an email shows. The shortest phone number that mail programs turn into
/// a link has one more digit.
const MAX_NAME_DIGITS: usize = 4;

/// Returns the username if no mail program can turn it into a link.
///
/// A stranger may have chosen the username, and mail programs turn text that looks like an address or a phone
/// number into a link. So an email shows the name only if it consists of letters, `-`, `_` and a few digits. Without
/// `/`, `:`, `.`, `@` and similar characters, no part of it becomes a link.
fn harmless(username: &str) -> Option<&str> {
    let digits = username.chars().filter(char::is_ascii_digit).count();
    let plain = |c: char| c.is_alphabetic() || c.is_ascii_digit() || c == '-' || c == '_';
    (digits <= MAX_NAME_DIGITS && username.chars().all(plain)).then_some(username)
}

/// A rendered email.
pub struct Text {
    /// The subject: one line.
    pub subject: String,
    /// The plain text.
    pub plain: String,
    /// The same text as HTML.
    pub html: String,
}

/// Defines the two templates of an email with a code, and a function that renders them.
macro_rules! code_email {
    ($kind:ident, $plain:literal, $html:literal) => {
        mod $kind {
            #[derive(askama::Template)]
            #[template(path = $plain, escape = "none")]
            pub(super) struct Plain<'a> {
                pub(super) product: &'a str,
                pub(super) username: Option<&'a str>,
                pub(super) link: &'a str,
                pub(super) digits: &'a str,
                pub(super) minutes: i64,
            }

            #[derive(askama::Template)]
            #[template(path = $html)]
            pub(super) struct Html<'a> {
                pub(super) product: &'a str,
                pub(super) username: Option<&'a str>,
                pub(super) link: &'a str,
                pub(super) digits: &'a str,
                pub(super) minutes: i64,
            }

            pub(super) fn render(
                product: &str,
                link: &str,
                username: Option<&str>,
                with: &super::CodeContent<'_>,
            ) -> Result<super::Text, crate::MailError> {
                let username = username.and_then(super::harmless);
                let super::CodeContent { digits, minutes, .. } = *with;
                super::both(
                    &Plain { product, username, link, digits, minutes },
                    &Html { product, username, link, digits, minutes },
                )
            }
        }
    };
}

/// Defines the two templates of a notice, and a function that renders them.
macro_rules! notice {
    ($kind:ident, $plain:literal, $html:literal) => {
        mod $kind {
            #[derive(askama::Template)]
            #[template(path = $plain, escape = "none")]
            pub(super) struct Plain<'a> {
                pub(super) product: &'a str,
                pub(super) username: Option<&'a str>,
                pub(super) time: &'a str,
            }

            #[derive(askama::Template)]
            #[template(path = $html)]
            pub(super) struct Html<'a> {
                pub(super) product: &'a str,
                pub(super) username: Option<&'a str>,
                pub(super) time: &'a str,
            }

            pub(super) fn render(
                product: &str,
                with: &super::NoticeContent<'_>,
            ) -> Result<super::Text, crate::MailError> {
                let time = &with.time.strftime("%Y-%m-%d %H:%M UTC").to_string();
                let username = super::harmless(with.username);
                super::both(&Plain { product, username, time }, &Html { product, username, time })
            }
        }
    };
}

code_email!(password_reset, "password_reset.txt", "password_reset.html");
code_email!(email_verification, "email_verification.txt", "email_verification.html");
code_email!(email_change, "email_change.txt", "email_change.html");
notice!(address_taken, "address_taken.txt", "address_taken.html");
notice!(password_changed, "password_changed.txt", "password_changed.html");
notice!(email_change_requested, "email_change_requested.txt", "email_change_requested.html");
notice!(email_changed, "email_changed.txt", "email_changed.html");
notice!(session_reused, "session_reused.txt", "session_reused.html");
notice!(new_network, "new_network.txt", "new_network.html");

/// Renders both texts, and splits the subject off the plain text.
fn both(plain: &impl Template, html: &impl Template) -> Result<Text, MailError> {
    let fault = |error: askama::Error| MailError::Text(Box::new(error));
    let (plain, html) = (plain.render().map_err(fault)?, html.render().map_err(fault)?);
    let (subject, plain) = plain
        .strip_prefix(SUBJECT)
        .and_then(|rest| rest.split_once("\n\n"))
        .ok_or_else(|| MailError::Text("the text does not begin with a subject".into()))?;
    Ok(Text { subject: subject.to_owned(), plain: plain.to_owned(), html })
}

impl Letter<'_> {
    /// The name of this kind of email, which is also the name of its templates.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "password_reset",
            Self::EmailVerification(_) => "email_verification",
            Self::EmailChange(_) => "email_change",
            Self::AddressTaken(_) => "address_taken",
            Self::PasswordChanged(_) => "password_changed",
            Self::EmailChangeRequested(_) => "email_change_requested",
            Self::EmailChanged(_) => "email_changed",
            Self::SessionReused(_) => "session_reused",
            Self::NewNetwork(_) => "new_network",
        }
    }

    /// Renders the text. Every link begins with `links`.
    ///
    /// # Errors
    /// When a template cannot be rendered.
    pub(crate) fn render(&self, product: &str, links: &str) -> Result<Text, MailError> {
        // A token consists of base64url characters and dots, so it needs no escaping in a URL.
        let link =
            |page: &str, with: &CodeContent<'_>| format!("{links}/{page}?token={}", with.token);
        match self {
            Self::PasswordReset { username, code } => {
                password_reset::render(product, &link("reset-password", code), *username, code)
            }
            Self::EmailVerification(code) => {
                email_verification::render(product, &link("verify-email", code), None, code)
            }
            Self::EmailChange(code) => {
                email_change::render(product, &link("confirm-email", code), None, code)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_could_become_a_link_is_not_shown() {
        for name in ["Rosa", "rosa-1", "rosa_luxemburg", "Роза", "罗莎", "x2026"] {
            assert_eq!(harmless(name), Some(name), "{name}");
        }
        for name in [
            "https://evil.example/win-500",
            "evil.example",
            "www.evil.example",
            "evil.example/x",
            "evil。example",
            "evil．example",
            "evil․example",
            "localhost:80",
            "//evil",
            "\\\\evil",
            "mailto:rosa",
            "tel:110",
            "a@b",
            "192.0.2.1",
            "+18005551234",
            "18005551234",
            "call-800-555-1234",
            "555-01234",
            "a%2eb",
            "<b>rosa</b>",
            "rosa\"",
            "#rosa",
            "rosa luxemburg",
            "rosa\nluxemburg",
        ] {
            assert_eq!(harmless(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_shown_name_contains_a_character_that_links_need(name in ".{0,80}") {
            let shown = harmless(&name).unwrap_or_default();
            prop_assert!(!shown.contains(['/', ':', '.', '@', '\\', '%', '?', '#', '&', '<', ' ', '+']));
        }
    }
}
