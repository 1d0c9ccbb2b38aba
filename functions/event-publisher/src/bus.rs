//! The destination of events: an event bus of Amazon `EventBridge`, or a file.

use std::convert::Infallible;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_eventbridge::{Client, Config};
use aws_smithy_types::DateTime;
use events::{Event, Origin};
use identity::UserId;
use lambda::stream::StreamRecord;
use process::{AwsEnvironment, Reader, Settings};
use serde::Serialize;

/// The deadline for sending one batch, including retries.
const OPERATION_DEADLINE: Duration = Duration::from_secs(6);

/// The maximum number of attempts to send one batch.
const ATTEMPTS: u32 = 3;

/// The maximum number of events in a `PutEvents` request.
const BATCH: usize = 10;

/// The `source` of all events.
const SOURCE: &str = "latchkey";

/// Settings: where events are sent.
#[derive(Clone, Debug)]
pub struct BusConfig {
    place: Place,
    aws: Option<AwsEnvironment>,
}

/// The place to which events are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The event bus with this name or ARN.
    EventBridge(String),
    /// A file, to which each event is appended as a line of JSON.
    File(PathBuf),
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("file:") {
            Some(path) => Self::File(path.into()),
            None => Self::EventBridge(text.to_owned()),
        })
    }
}

impl Settings for BusConfig {
    /// Reads `EVENT_BUS`: the name or ARN of an event bus, or `file:` followed by a path. For an event bus, also reads
    /// the variables that Lambda sets for every function.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let place = reader.required("EVENT_BUS")?;
        let aws = match place {
            Place::EventBridge(_) => {
                Some(AwsEnvironment::read(reader, "AWS_ENDPOINT_URL_EVENTBRIDGE")?)
            }
            Place::File(_) => None,
        };
        Some(Self { place, aws })
    }
}

/// An event as it is sent. It contains neither the network nor the user agent: an event bus may have many readers, and
/// deleting the account does not delete their copies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    user_id: UserId,
    #[serde(flatten)]
    event: Event,
}

impl Message {
    pub(crate) fn new(user_id: UserId, event: &Event) -> Self {
        Self { user_id, event: Event { origin: Origin::default(), ..event.clone() } }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event is JSON")
    }
}

/// Where events are sent.
pub(crate) enum Bus {
    EventBridge { client: Client, name: String },
    File(PathBuf),
}

impl Bus {
    /// Creates a bus without connecting to anything.
    pub(crate) fn connect(config: &BusConfig) -> Self {
        let (name, aws) = match (&config.place, &config.aws) {
            (Place::File(path), _) => return Self::File(path.clone()),
            (Place::EventBridge(name), Some(aws)) => (name.clone(), aws),
            (Place::EventBridge(_), None) => {
                unreachable!("`BusConfig::read` reads the AWS settings for EventBridge")
            }
        };
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
        Self::EventBridge { client: Client::from_conf(config.build()), name }
    }

    /// Sends events. Returns the records of the events that were not accepted, each with the reason.
    pub(crate) async fn send(
        &self,
        batch: Vec<(StreamRecord, Message)>,
    ) -> Vec<(StreamRecord, Box<dyn Error + Send + Sync>)> {
        match self {
            Self::EventBridge { client, name } => {
                let mut failed = Vec::new();
                let mut batch = batch.into_iter().peekable();
                while batch.peek().is_some() {
                    failed.extend(put(client, name, batch.by_ref().take(BATCH).collect()).await);
                }
                failed
            }
            Self::File(path) => {
                let append = |message: &Message| {
                    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                    writeln!(file, "{}", message.to_json())
                };
                let failed = batch.into_iter().filter_map(|(record, message)| {
                    append(&message).err().map(|error| (record, error.into()))
                });
                failed.collect()
            }
        }
    }
}

async fn put(
    client: &Client,
    bus: &str,
    batch: Vec<(StreamRecord, Message)>,
) -> Vec<(StreamRecord, Box<dyn Error + Send + Sync>)> {
    let (records, messages): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let entries = messages.iter().map(|message| {
        PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source(SOURCE)
            .detail_type(message.event.kind.name())
            .time(DateTime::from_millis(message.event.at.as_millisecond()))
            .detail(message.to_json())
            .build()
    });
    let sent = client.put_events().set_entries(Some(entries.collect())).send().await;
    match sent {
        // The results are in the order of the entries.
        Ok(output) => {
            let results = output.entries.unwrap_or_default();
            let failed = records
                .into_iter()
                .zip(results)
                .filter_map(|(record, result)| Some((record, Box::from(result.error_code?))));
            failed.collect()
        }
        Err(error) => {
            let error = aws_smithy_types::error::display::DisplayErrorContext(&error).to_string();
            records.into_iter().map(|record| (record, error.as_str().into())).collect()
        }
    }
}
