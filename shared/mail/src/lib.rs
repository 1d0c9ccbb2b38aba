//! Renders and sends emails.
//!
//! The folder `templates` has two templates for each kind of email: plain text, whose first line is the subject,
//! and HTML, in which inserted values are escaped. The templates are compiled into the binary.
//!
//! The variable `MAIL_TRANSPORT` determines whether emails go to Amazon SES or, on a laptop, to files in a folder.
//! Links are built from configuration only, never from a request.

mod text;
mod transport;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use identity::{Email, MailId};
use jiff::Timestamp;
use process::{AwsEnvironment, Fault, FaultKind, Reader, Settings};
pub use text::{CodeContent, Letter, NoticeContent, Text};
use transport::Transport;

/// The default name of the product.
const DEFAULT_PRODUCT: &str = "Latchkey";

/// The maximum length of the product's name, in characters. It is limited because every subject contains the name.
const MAX_PRODUCT_CHARS: usize = 60;

/// The destination of emails.
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

/// The base URL of links in emails: an `https` URL without a query or a fragment, or an `http` URL on loopback.
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
            return Err("expected a URL without a query, a fragment or credentials");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The name of the product, as recipients see it.
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

/// The settings for emails: the sender, the transport, and the values that every email contains.
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

/// Sends emails.
#[derive(Clone, Debug)]
pub struct Mailer {
    from: Email,
    product: String,
    links: LinkBase,
    transport: Transport,
}

impl Mailer {
    /// Creates a mailer without connecting to anything.
    #[must_use]
    pub fn connect(config: &Config) -> Self {
        let transport = match (&config.place, &config.aws) {
            (Place::Folder(folder), _) => Transport::Folder(folder.clone()),
            (Place::Ses, Some(aws)) => Transport::ses(aws),
            (Place::Ses, None) => unreachable!("`Config::read` reads the AWS settings for SES"),
        };
        Self {
            from: config.from.clone(),
            product: config.product.0.clone(),
            links: config.links.clone(),
            transport,
        }
    }

    /// Sends an email. `id` identifies it: a retry must pass the same `id`.
    ///
    /// # Errors
    /// When the email was not sent.
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

/// The reason why an email was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A later attempt may succeed.
    #[error("email cannot be sent at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The email can never be sent, because its address or its text is refused.
    #[error("the email was refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The text cannot be rendered.
    #[error("the text of the email cannot be rendered")]
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

/// Shows only the kind of email, not the username or the code.
impl fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
