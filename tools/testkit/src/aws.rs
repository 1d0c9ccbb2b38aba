//! An emulator of AWS to deploy to, run by `ministack`.

use std::path::PathBuf;

use crate::ministack::Ministack;

/// The services of AWS that a stack of Latchkey uses, and those that deploy it.
const SERVICES: &str = "apigateway,cloudformation,dynamodb,dynamodbstreams,events,iam,lambda,logs,\
                        monitoring,s3,secretsmanager,ses,sns,sts";

/// What ministack does not do by itself: the routes of an HTTP API from its body, rotation, https.
const PATCHES: &str = include_str!("ministack_aws.py");

/// The name of the file of the certificate.
const CERTIFICATE: &str = "certificate.pem";

/// The name of the file that records the requests.
const CALLS: &str = "calls.jsonl";

/// The name of the file of what does not answer.
const FAULTS: &str = "faults";

/// An account of its own, empty. It runs the functions that are deployed to it as processes of this
/// machine, keeps all in memory, and ends with this value.
///
/// It keeps what functions ask of it.
#[derive(Debug)]
pub struct Aws(Ministack);

impl Aws {
    /// Starts it.
    ///
    /// # Panics
    /// When `ministack` is not installed and cannot be, or does not start.
    pub async fn start() -> Self {
        let variables = [("CERTIFICATE", CERTIFICATE), ("CALLS", CALLS), ("FAULTS", FAULTS)];
        Self(Ministack::start_with(SERVICES, PATCHES, &variables).await)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// The signed requests, one JSON object per line: `caller` (a function by its own name), `service`,
    /// `operation` and `body`.
    ///
    /// # Panics
    /// When the file no longer exists.
    #[must_use]
    pub fn calls(&self) -> String {
        std::fs::read_to_string(self.0.folder().join(CALLS)).expect("it is written to")
    }

    /// Lets these services answer every request of a function by 500, and no others: `dynamodb`, `ses`.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn break_services(&self, services: &[&str]) {
        let (faults, new) = (self.0.folder().join(FAULTS), self.0.folder().join("faults.new"));
        std::fs::write(&new, services.join(" ")).expect("a new file");
        std::fs::rename(new, faults).expect("a file in its place");
    }

    /// The certificate of the addresses that its APIs have.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.folder().join(CERTIFICATE)
    }
}
