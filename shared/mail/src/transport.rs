//! Sends emails through Amazon SES, or writes them to files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_sesv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sesv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageHeader};
use aws_sdk_sesv2::{Client, Config};
use identity::{Email, MailId};
use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::Header;
use mail_builder::headers::address::Address;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use process::AwsEnvironment;

use crate::{MailError, Text};

/// The deadline for sending one email, including retries. The mailer's timeout allows for several emails.
const OPERATION_DEADLINE: Duration = Duration::from_secs(6);

/// The maximum number of attempts to send one email.
const ATTEMPTS: u32 = 3;

/// The header that marks an email as automatic, so that programs do not reply to it (RFC 3834).
const AUTO_SUBMITTED: (&str, &str) = ("Auto-Submitted", "auto-generated");

/// The ways to send emails.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// Sends through Amazon SES (v2).
    Ses(Client),
    /// Writes one file per email into a folder.
    Folder(PathBuf),
}

impl Transport {
    pub(crate) fn ses(aws: &AwsEnvironment) -> Self {
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(Credentials::new(
                &aws.access_key_id,
                &aws.secret_access_key,
                aws.session_token.clone(),
                None,
                "environment",
            ))
            .http_client(aws::http_client())
            .retry_config(aws::retries(ATTEMPTS))
            .timeout_config(aws::timeouts(OPERATION_DEADLINE))
            .interceptor(aws::WithinDeadline);
        if let Some(endpoint) = &aws.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self::Ses(Client::from_conf(config.build()))
    }

    /// Sends an email. `from` is the name and the address of the sender.
    pub(crate) async fn send(
        &self,
        id: MailId,
        from: (&str, &Email),
        to: &Email,
        text: &Text,
        now: Timestamp,
    ) -> Result<(), MailError> {
        match self {
            Self::Ses(client) => send(client, from, to, text).await,
            Self::Folder(folder) => write(folder, id, from, to, text, now),
        }
    }
}

async fn send(
    client: &Client,
    (name, from): (&str, &Email),
    to: &Email,
    text: &Text,
) -> Result<(), MailError> {
    let content = |data: &str| Content::builder().data(data).charset("UTF-8").build();
    let refused = |error: aws_sdk_sesv2::error::BuildError| MailError::Refused(Box::new(error));
    let body = Body::builder()
        .text(content(&text.plain).map_err(refused)?)
        .html(content(&text.html).map_err(refused)?)
        .build();
    let subject = content(&text.subject).map_err(refused)?;
    let (name_of_header, value) = AUTO_SUBMITTED;
    let header = MessageHeader::builder().name(name_of_header).value(value).build();
    let header = header.map_err(refused)?;
    let message = Message::builder().subject(subject).body(body).headers(header).build();
    let sent = client
        .send_email()
        .from_email_address(mailbox(name, from))
        .destination(Destination::builder().to_addresses(to.deliverable()).build())
        .content(EmailContent::builder().simple(message).build())
        .send()
        .await;
    match sent {
        Ok(_) => Ok(()),
        // The email is at fault, not the service, so a retry would fail too.
        Err(error)
            if matches!(
                error.as_service_error(),
                Some(SendEmailError::BadRequestException(_) | SendEmailError::MessageRejected(_))
            ) =>
        {
            Err(MailError::Refused(code(&error)))
        }
        Err(error) if error.as_service_error().is_some() => {
            Err(MailError::Unavailable(code(&error)))
        }
        Err(error) => Err(MailError::unavailable(error)),
    }
}

/// Returns the error code from SES. The error message contains addresses, which must not be logged.
fn code<R>(error: &SdkError<SendEmailError, R>) -> Box<dyn std::error::Error + Send + Sync> {
    error.code().unwrap_or("an error without a code").into()
}

/// Formats `"name" <address>` (RFC 5322 §3.4) on one line. A non-ASCII name becomes encoded words of at most
/// 75 characters each (RFC 2047 §2).
fn mailbox(name: &str, address: &Email) -> String {
    let mut header = Vec::new();
    Address::new_address(Some(name), address.deliverable()).write_header(&mut header, 0);
    // Removing the line breaks of a folded header keeps the white space that separates the words.
    String::from_utf8_lossy(&header).replace("\r\n", "").trim().to_owned()
}

/// Builds a MIME part without a transfer encoding, so that people can read the file and follow its links without a
/// mail program. No line comes near the limit of 998 octets (RFC 5322 §2.1.1).
fn part<'a>(kind: &'static str, text: &'a str) -> MimePart<'a> {
    // The library adds the `charset`.
    MimePart::new(kind, text).transfer_encoding("8bit")
}

/// Writes the email to a file that any mail program can open. Only the file's owner may read it, because the email
/// may contain a code. The file is written completely or not at all.
fn write(
    folder: &std::path::Path,
    id: MailId,
    (name, from): (&str, &Email),
    to: &Email,
    text: &Text,
    now: Timestamp,
) -> Result<(), MailError> {
    let (domain, sender) = (from.domain(), from.deliverable());
    let message = MessageBuilder::new()
        .message_id(format!("{id}@{domain}"))
        .date(now.as_second())
        .from((name, sender.as_str()))
        .to(to.deliverable())
        .subject(text.subject.as_str())
        .header(AUTO_SUBMITTED.0, Raw::new(AUTO_SUBMITTED.1))
        .body(MimePart::new(
            "multipart/alternative",
            vec![part("text/plain", &text.plain), part("text/html", &text.html)],
        ))
        .write_to_vec()
        .map_err(MailError::unavailable)?;
    std::fs::create_dir_all(folder).map_err(MailError::unavailable)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(MailError::unavailable)?;
    file.write_all(&message).map_err(MailError::unavailable)?;
    file.persist(folder.join(format!("{id}.eml")))
        .map_err(|error| MailError::unavailable(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    #[test]
    fn no_encoded_word_in_a_sender_exceeds_75_characters() {
        let address = Email::parse("no-reply@example.com").unwrap();
        for name in [
            "Latchkey",
            "Latchkey, Inc.",
            "a \"quoted\" \\ name",
            "Söhne",
            &"Straßenbahngesellschaft ".repeat(2),
            &"ä".repeat(60),
            &"日本語".repeat(20),
            &"\u{1f511}".repeat(60),
            &"a\u{1f511} ".repeat(20),
        ] {
            let name = name.trim();
            let header = mailbox(name, &address);
            assert!(header.is_ascii() && !header.contains(['\r', '\n']), "{header}");
            for word in header.split(' ').filter(|word| word.starts_with("=?")) {
                assert!(word.ends_with("?=") && word.len() <= 75, "{word}");
            }
            let message = format!("From: {header}\r\n\r\n");
            let parsed = MessageParser::new().parse_headers(message.as_bytes()).unwrap();
            let from = parsed.from().unwrap().first().unwrap();
            assert_eq!((from.name(), from.address()), (Some(name), Some(address.as_str())));
        }
    }
}
