//! Batches of records from the stream of a DynamoDB table, as Lambda delivers them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The event that Lambda sends for a stream. Each record is parsed separately, so that an unreadable one does
/// not hold up the others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records")]
    records: Vec<Value>,
}

impl StreamEvent {
    /// The records, in the order in which the table changed.
    pub fn records(self) -> impl Iterator<Item = Result<StreamRecord, serde_json::Error>> {
        self.records.into_iter().map(StreamRecord::parse)
    }
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Change {
    /// The item is new.
    #[serde(rename = "INSERT")]
    Created,
    /// The item existed before.
    #[serde(rename = "MODIFY")]
    Updated,
    /// The item no longer exists.
    #[serde(rename = "REMOVE")]
    Deleted,
}

/// A change to an item. The stream contains only the item's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// What happened to the item.
    pub change: Change,
    /// The partition key. Empty if the item has none.
    pub pk: String,
    /// The sort key. Empty if the item has none.
    pub sk: String,
    /// The position in the stream.
    sequence_number: String,
}

impl StreamRecord {
    fn parse(record: Value) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Record {
            #[serde(rename = "eventName")]
            change: Change,
            dynamodb: Changed,
        }

        #[derive(Deserialize)]
        struct Changed {
            #[serde(rename = "Keys")]
            keys: HashMap<String, Attribute>,
            #[serde(rename = "SequenceNumber")]
            sequence_number: String,
        }

        #[derive(Default, Deserialize)]
        struct Attribute {
            #[serde(rename = "S", default)]
            s: String,
        }

        let Record { change, dynamodb } = serde_json::from_value(record)?;
        let Changed { mut keys, sequence_number } = dynamodb;
        let mut key = |name| keys.remove(name).unwrap_or_default().s;
        let (pk, sk) = (key("pk"), key("sk"));
        Ok(Self { change, pk, sk, sequence_number })
    }
}

/// The records that Lambda must deliver again (`ReportBatchItemFailures`).
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchAnswer {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    sequence_number: String,
}

impl BatchAnswer {
    /// Whether Lambda will deliver any record again, and with it every later record of the batch.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Requests that Lambda deliver `record` again. Lambda then also redelivers every later record of
    /// the batch.
    pub fn deliver_again(&mut self, record: StreamRecord) {
        self.failures.push(Failure { sequence_number: record.sequence_number });
    }
}
