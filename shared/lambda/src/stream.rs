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

/// A change to an item. The stream contains only the item's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Whether the item is new, as opposed to changed or deleted.
    pub is_new: bool,
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
            event_name: String,
            dynamodb: Change,
        }

        #[derive(Deserialize)]
        struct Change {
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

        let Record { event_name, dynamodb } = serde_json::from_value(record)?;
        let Change { mut keys, sequence_number } = dynamodb;
        let mut key = |name| keys.remove(name).unwrap_or_default().s;
        let (pk, sk) = (key("pk"), key("sk"));
        Ok(Self { is_new: event_name == "INSERT", pk, sk, sequence_number })
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
    /// Requests that Lambda deliver `record` again. Lambda then also redelivers every later record of
    /// the batch.
    pub fn deliver_again(&mut self, record: StreamRecord) {
        self.failures.push(Failure { sequence_number: record.sequence_number });
    }
}
