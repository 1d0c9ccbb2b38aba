//! Renders a page.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use web::HeaderValue;

use crate::Config;
use crate::language::{PageTexts, Texts};

const STYLE: &str = include_str!("../templates/page.css");
const SCRIPT: &str = include_str!("../templates/page.js");

/// One of the pages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    /// Sets a new password.
    ResetPassword,
    /// Confirms the address of an account.
    VerifyEmail,
    /// Confirms an address that replaces the account's current one.
    ConfirmEmail,
}

impl Page {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::ResetPassword => "/reset-password",
            Self::VerifyEmail => "/verify-email",
            Self::ConfirmEmail => "/confirm-email",
        }
    }

    /// The page at `path`.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let mut pages = [Self::ResetPassword, Self::VerifyEmail, Self::ConfirmEmail].into_iter();
        pages.find(|page| page.path() == path)
    }

    /// The route to which the page posts the token.
    const fn action(self) -> &'static str {
        match self {
            Self::ResetPassword => "/auth/password/reset",
            Self::VerifyEmail | Self::ConfirmEmail => "/auth/email/verify",
        }
    }

    const fn texts(self, texts: &Texts) -> &PageTexts {
        match self {
            Self::ResetPassword => &texts.reset_password,
            Self::VerifyEmail => &texts.verify_email,
            Self::ConfirmEmail => &texts.confirm_email,
        }
    }
}

/// A policy with which a page can run its own script, use its own style and call its own API, and nothing else.
pub(crate) fn policy() -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    HeaderValue::try_from(policy).expect("the policy is ASCII")
}

#[derive(Template)]
#[template(path = "page.html")]
struct Html<'a> {
    language: &'a str,
    direction: &'a str,
    style: &'a str,
    script: &'a str,
    product: &'a str,
    title: String,
    introduction: String,
    no_script: String,
    action: &'a str,
    password: Option<PasswordField>,
    button: String,
    /// The texts that the script may show, by code.
    messages: Vec<(&'a str, String)>,
}

struct PasswordField {
    label: String,
    rule: String,
    show: String,
}

/// The HTML of `page`.
pub(crate) fn render(
    config: &Config,
    page: Page,
    language: &str,
    texts: &Texts,
) -> askama::Result<String> {
    let min = config.password_min_chars.to_string();
    let filled = |text: &String| text.replace("{min}", &min).replace("{product}", &config.product);
    let own = page.texts(texts);
    let password = matches!(page, Page::ResetPassword).then(|| PasswordField {
        label: filled(&texts.new_password),
        rule: filled(&texts.password_rule),
        show: filled(&texts.show_password),
    });
    let errors = texts.errors.iter().map(|(code, text)| (code.as_str(), text));
    let messages = [("done", &own.done), ("invalid_code", &own.invalid_link)];
    let html = Html {
        language,
        direction: &texts.direction,
        style: STYLE,
        script: SCRIPT,
        product: &config.product,
        title: filled(&own.title),
        introduction: filled(&own.introduction),
        no_script: filled(&texts.no_script),
        action: page.action(),
        password,
        button: filled(&own.button),
        messages: errors.chain(messages).map(|(code, text)| (code, filled(text))).collect(),
    };
    html.render()
}
