//! An emulated AWS account, served by `ministack`, to which a test deploys a stack.

use std::path::PathBuf;

use crate::ministack::Ministack;

/// The AWS services that a Latchkey stack or its deployment uses.
const SERVICES: &str = "apigateway,cloudformation,dynamodb,dynamodbstreams,events,iam,lambda,logs,\
                        monitoring,s3,secretsmanager,ses,sns,sts";

/// Features that ministack lacks: routes from the OpenAPI body of an HTTP API, rotation of secrets, and HTTPS.
const PATCHES: &str = include_str!("ministack_aws.py");

/// The name of the certificate's file.
const CERTIFICATE: &str = "certificate.pem";

/// The name of the file that records the requests.
const CALLS: &str = "calls.jsonl";

/// The name of the file that lists the broken services.
const FAULTS: &str = "faults";

/// An emulated account, which is empty at first. Dropping this value stops it.
///
/// The emulator runs deployed functions as local processes, keeps its state in memory, and records all calls by
/// functions.
#[derive(Debug)]
pub struct Aws(Ministack);

impl Aws {
    /// Starts an empty account.
    ///
    /// # Panics
    /// When `ministack` cannot be installed, or does not start.
    pub async fn start() -> Self {
        let variables = [("CERTIFICATE", CERTIFICATE), ("CALLS", CALLS), ("FAULTS", FAULTS)];
        Self(Ministack::start_with(SERVICES, PATCHES, &variables).await)
    }

    /// The base URL of all services.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// The recorded signed requests, one JSON object per line.
    ///
    /// The members are `caller` (the name of a function), `service`, `operation` and `body`.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn calls(&self) -> String {
        std::fs::read_to_string(self.0.folder().join(CALLS)).expect("the emulator writes the file")
    }

    /// Makes these services, such as `dynamodb` or `ses`, answer every request from a function with 500. Repairs all
    /// other services.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn break_services(&self, services: &[&str]) {
        let (faults, new) = (self.0.folder().join(FAULTS), self.0.folder().join("faults.new"));
        std::fs::write(&new, services.join(" ")).expect("a new file");
        std::fs::rename(new, faults).expect("a replaced file");
    }

    /// The path of the certificate of the account's APIs.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.folder().join(CERTIFICATE)
    }
}
