//! `GET /reset-password`, `/verify-email` and `/confirm-email`: the pages to which the links in emails lead.
//!
//! Programs that scan emails follow links, so a GET changes nothing, and this function has no permission other than to
//! write its log and traces. The script of a page takes the token from the page's URL, and posts it when the user
//! presses the button.

mod language;
mod page;

use std::ops::RangeInclusive;
use std::str::FromStr;

use language::Languages;
use page::Page;
use process::{Reader, Settings};
use serde::Deserialize;
use web::{
    BootError, Content, Endpoint, HeaderMap, HeaderValue, Headers, Input, Problem, Public, Request,
    Route, World, header,
};

/// The maximum length of the product's name, in characters, as in emails.
const MAX_PRODUCT_CHARS: usize = 60;

/// The variable with the minimum number of characters of a password.
const MIN_CHARS: &str = "PASSWORD_MIN_CHARS";

/// The allowed range of that minimum, as for the functions that set passwords.
const MIN_CHARS_RANGE: RangeInclusive<usize> = 8..=64;

/// The name of the product. This function links neither `mail` nor `passwords`, so it has its own copy of their rules. A
/// test compares the copies.
struct Product(String);

impl FromStr for Product {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().any(char::is_control) || text.chars().count() > MAX_PRODUCT_CHARS {
            return Err("expected at most 60 characters and no control characters");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The settings that the pages show.
#[derive(Debug)]
pub struct Config {
    product: String,
    password_min_chars: usize,
}

impl Settings for Config {
    /// Reads `PRODUCT_NAME` (default `Latchkey`) and `PASSWORD_MIN_CHARS` (8 to 64, default 8).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let product = reader.optional("PRODUCT_NAME", Product("Latchkey".to_owned()));
        let password_min_chars = reader.optional(MIN_CHARS, *MIN_CHARS_RANGE.start())?;
        if !MIN_CHARS_RANGE.contains(&password_min_chars) {
            let (least, most) = MIN_CHARS_RANGE.into_inner();
            reader.fault(MIN_CHARS, format_args!("must be from {least} to {most}"));
            return None;
        }
        Some(Self { product: product?.0, password_min_chars })
    }
}

/// The requested page, and the languages that the browser accepts.
#[derive(Debug)]
pub struct Requested {
    page: Page,
    accepted: String,
}

/// The header with the languages. A `Vec`, because a value that is not UTF-8 would otherwise be an error.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Accepted {
    #[serde(default)]
    accept_language: Vec<String>,
}

impl Input for Requested {
    fn read(request: &Request) -> Result<Self, Problem> {
        let path = request.endpoint().map(|endpoint| endpoint.path);
        let page = path.and_then(Page::at).ok_or_else(Problem::not_found)?;
        let Headers(Accepted { accept_language }) = Headers::read(request)?;
        Ok(Self { page, accepted: accept_language.join(",") })
    }
}

/// Serves the pages.
pub struct PagesRoute {
    config: Config,
    languages: Languages,
    policy: HeaderValue,
}

impl Route for PagesRoute {
    const NAME: &'static str = "pages";
    const ENDPOINTS: &'static [Endpoint] = &[
        Endpoint::get(Page::ResetPassword.path()),
        Endpoint::get(Page::VerifyEmail.path()),
        Endpoint::get(Page::ConfirmEmail.path()),
    ];
    type Access = Public;
    type Settings = Config;
    type Input = Requested;
    type Output = (HeaderMap, Content);

    async fn open(config: Config, (): &(), _: &World) -> Result<Self, BootError> {
        let languages = Languages::read().map_err(|error| BootError::Start(error.to_string()))?;
        Ok(Self { config, languages, policy: page::policy() })
    }

    async fn handle(&self, (): (), requested: Requested) -> Result<Self::Output, Problem> {
        let (language, texts) = self.languages.best(&requested.accepted);
        let html = page::render(&self.config, requested.page, language, texts);
        let html = html.map_err(|error| Problem::internal().because(error))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        // The URL contains a token, which must not be passed on.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        Ok((headers, Content::text("text/html; charset=utf-8", html)))
    }
}
