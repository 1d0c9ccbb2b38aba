//! The texts of mails, and sending them.
//!
//! The texts are files in `templates`, two for each kind of mail: plain text, whose first line is the
//! subject, and HTML, in which inserted values are escaped. They are compiled into the binary.
//!
//! One variable determines where mails go: to Amazon SES or, on a laptop, into a folder, one file per mail.
//! Links are built from configuration only, never from a request.

mod text;
mod transport;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use identity::{Email, MailId};
use jiff::Timestamp;
use process::{AwsEnvironment, Fault, FaultKind, Reader, Settings};
pub use text::{Coded, Letter, Text, Told};
use transport::Transport;

/// The default name of the product.
const DEFAULT_PRODUCT: &str = "Latchkey";

/// The maximum length of the product's name, in characters: every subject contains it.
const MAX_PRODUCT_CHARS: usize = 60;

/// The destination of mails.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Amazon SES.
    Ses,
    /// A folder, on a laptop.
    Folder(PathBuf),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("file:") {
            Some(folder) if !folder.is_empty() => Ok(Self::Folder(folder.into())),
            None if text == "ses" => Ok(Self::Ses),
            _ => Err("expected `ses`, or `file:` and a folder"),
        }
    }
}

/// The beginning of links in mails: an `https` URL without query and fragment; `http` on a laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkBase(String);

impl FromStr for LinkBase {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: http::Uri = text.parse().map_err(|_| "expected a URL")?;
        let local = || {
            let host = uri.host().unwrap_or_default();
            ["127.0.0.1", "localhost", "[::1]"].contains(&host)
        };
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if local() => {}
            _ => return Err("expected an https URL"),
        }
        if text.contains(['?', '#', '@']) {
            return Err("expected a URL without query, fragment and credentials");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The product's name, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The sender of mails, how they are sent, and what all of them contain.
#[derive(Clone, Debug)]
pub struct Config {
    from: Email,
    product: Product,
    links: LinkBase,
    place: Place,
    aws: Option<AwsEnvironment>,
}

impl Settings for Config {
    /// Reads `MAIL_FROM`, `MAIL_LINK_BASE`, `PRODUCT_NAME` and `MAIL_TRANSPORT` (default `ses`) and, for SES, the
    /// variables that Lambda sets for every function.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let from = reader.required("MAIL_FROM");
        let links = reader.required("MAIL_LINK_BASE");
        let product = reader.optional("PRODUCT_NAME", Product(DEFAULT_PRODUCT.to_owned()));
        let place = reader.optional("MAIL_TRANSPORT", Place::Ses)?;
        let aws = match place {
            Place::Ses => Some(AwsEnvironment::read(reader, "AWS_ENDPOINT_URL_SESV2")?),
            Place::Folder(_) => None,
        };
        Some(Self { from: from?, product: product?, links: links?, place, aws })
    }
}

/// Sends mails.
#[derive(Clone, Debug)]
pub struct Mailer {
    from: Email,
    product: String,
    links: LinkBase,
    transport: Transport,
}

impl Mailer {
    /// Creates a sender. Sends nothing yet.
    #[must_use]
    pub fn connect(config: &Config) -> Self {
        let transport = match (&config.place, &config.aws) {
            (Place::Folder(folder), _) => Transport::Folder(folder.clone()),
            (Place::Ses, Some(aws)) => Transport::ses(aws),
            (Place::Ses, None) => unreachable!("`Config::read` reads it for SES"),
        };
        Self {
            from: config.from.clone(),
            product: config.product.0.clone(),
            links: config.links.clone(),
            transport,
        }
    }

    /// Sends a mail. `id` identifies it: sending with the same `id` repeats the same mail.
    ///
    /// # Errors
    /// The mail was not sent.
    pub async fn send(
        &self,
        id: MailId,
        to: &Email,
        letter: &Letter<'_>,
        now: Timestamp,
    ) -> Result<(), MailError> {
        let text = letter.render(&self.product, &self.links.0)?;
        self.transport.send(id, (&self.product, &self.from), to, &text, now).await
    }
}

/// The reason why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The mail may be sent later.
    #[error("mail cannot be sent at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The mail can never be sent: the address or the text is refused.
    #[error("the mail was refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A text cannot be rendered.
    #[error("the text of a mail cannot be rendered")]
    Text(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl MailError {
    fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl Fault for MailError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Unavailable(_) => FaultKind::Unavailable,
            Self::Refused(_) | Self::Text(_) => FaultKind::Internal,
        }
    }
}

/// Does not show the address.
impl fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
