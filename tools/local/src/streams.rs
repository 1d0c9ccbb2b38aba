//! Invokes functions with the records of the local tables' streams.
//!
//! Records are delivered as on Lambda: in order, in batches, and through the template's filters. After a failure,
//! delivery resumes at the first record that failed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use dynoxide::Database;
use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::GetRecordsRequest;
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use serde_json::{Value, json};
use template::{Template, ui};

use crate::gateway::Invoker;

/// How long to wait between reads of a stream.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait before failed records are delivered again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The maximum number of deliveries of a record.
const TRIES: usize = 10;

/// Delivers the records of all streams until an error occurs. Prints the path of each new email in the folder `mails`.
///
/// # Errors
/// When a stream of the template does not exist or cannot be read.
pub async fn deliver(
    database: &Database,
    template: &Template,
    invoker: &impl Invoker,
    mails: PathBuf,
) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    for function in &template.functions {
        for source in &function.streams {
            let from = start(database, &source.table)
                .with_context(|| format!("the table {} has no stream", source.table))?;
            sources.push((function.name.clone(), source, from));
        }
    }
    loop {
        for (function, source, from) in &mut sources {
            let request = GetRecordsRequest { shard_iterator: from.clone(), limit: None };
            let answer = database.get_records(request).context("cannot read a stream")?;
            let records = serde_json::to_value(&answer.records).context("records are JSON")?;
            let records = records.as_array().into_iter().flatten();
            let accepted: Vec<_> = records.filter(|record| source.takes(record)).cloned().collect();
            for batch in accepted.chunks(source.batch_size.max(1)) {
                for mail in deliver_and_find(invoker, function, batch, &mails).await {
                    ui::line(format_args!("mail {}", mail.display()));
                }
            }
            if let Some(next) = answer.next_shard_iterator {
                *from = next;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// All records of a table's stream.
///
/// # Errors
/// When the table has no stream, or the stream cannot be read.
pub fn records(database: &Database, table: &str) -> anyhow::Result<Vec<Value>> {
    let mut from = start(database, table)?;
    let mut all = Vec::new();
    loop {
        let request = GetRecordsRequest { shard_iterator: from, limit: None };
        let answer = database.get_records(request)?;
        let records = serde_json::to_value(&answer.records)?;
        match (records.as_array(), answer.next_shard_iterator) {
            (Some(records), Some(next)) if !records.is_empty() => {
                all.extend(records.iter().cloned());
                from = next;
            }
            _ => return Ok(all),
        }
    }
}

/// The iterator at the beginning of a stream.
fn start(database: &Database, table: &str) -> anyhow::Result<String> {
    let request = ListStreamsRequest { table_name: Some(table.to_owned()), ..Default::default() };
    let stream_arn =
        database.list_streams(request)?.streams.pop().context("no stream found")?.stream_arn;
    let request = DescribeStreamRequest { stream_arn: stream_arn.clone(), ..Default::default() };
    let shard = database.describe_stream(request)?.stream_description.shards.pop();
    let request = GetShardIteratorRequest {
        stream_arn,
        shard_id: shard.context("the stream has no shard")?.shard_id,
        shard_iterator_type: "TRIM_HORIZON".to_owned(),
        sequence_number: None,
    };
    database.get_shard_iterator(request)?.shard_iterator.context("the stream cannot be read")
}

/// Invokes a function until it has accepted all records, at most [`TRIES`] times.
async fn deliver_batch(invoker: &impl Invoker, function: &str, records: &[Value]) {
    let mut remaining = records;
    for _ in 0..TRIES {
        let event = json!({ "Records": remaining }).to_string();
        let answer = invoker.invoke(function, event.into()).await;
        let answer = answer.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        remaining = match answer {
            Some(answer) => match first_failure(&answer, remaining) {
                Some(at) => &remaining[at..],
                None => return,
            },
            None => remaining,
        };
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    }
    let lost = remaining.len();
    ui::note(format_args!(
        "{function} could not process {lost} records: they will not be delivered again"
    ));
}

/// The index of the first record that the function reports as failed.
fn first_failure(answer: &Value, records: &[Value]) -> Option<usize> {
    let failures = answer["batchItemFailures"].as_array()?;
    let failed = |record: &Value| {
        let number = &record["dynamodb"]["SequenceNumber"];
        failures.iter().any(|failure| failure["itemIdentifier"] == *number)
    };
    records.iter().position(failed)
}

/// Delivers a batch and returns the emails that the function sent. A stream keeps records for a day, so the batch may
/// contain records of emails that an earlier run sent: those emails are left out.
async fn deliver_and_find(
    invoker: &impl Invoker,
    function: &str,
    batch: &[Value],
    mails: &Path,
) -> Vec<PathBuf> {
    let mut sent: Vec<_> = mails_of(batch, mails).filter(|mail| !mail.is_file()).collect();
    deliver_batch(invoker, function, batch).await;
    sent.retain(|mail| mail.is_file());
    sent
}

/// The files to which the emails of these records are written.
fn mails_of(records: &[Value], mails: &Path) -> impl Iterator<Item = PathBuf> {
    records.iter().filter_map(|record| {
        let (_, id) = record["dynamodb"]["Keys"]["pk"]["S"].as_str()?.split_once('#')?;
        Some(mails.join(format!("{id}.eml")))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::gateway::InvokeError;
    use template::StreamSource;

    fn record(name: &str, pk: &str) -> Value {
        json!({"eventName": name, "dynamodb": {
            "Keys": {"pk": {"S": pk}}, "SequenceNumber": format!("{name}{pk}"),
        }})
    }

    #[test]
    fn the_filter_of_the_template_accepts_only_new_and_changed_items_of_the_outbox() {
        let path = template::project::Project::here().template();
        let template = Template::read(&path).unwrap();
        let [source] = template.function("mailer").unwrap().streams.as_slice() else {
            panic!("one stream")
        };
        assert!(source.takes(&record("INSERT", "OUTBOX#1")));
        assert!(source.takes(&record("MODIFY", "OUTBOX#1")));
        assert!(!source.takes(&record("REMOVE", "OUTBOX#1")));
        assert!(!source.takes(&record("INSERT", "USER#1")));
        assert!(!source.takes(&json!({})));
        let all = StreamSource { filters: Vec::new(), ..source.clone() };
        assert!(all.takes(&record("REMOVE", "USER#1")));
    }

    /// Writes an email for each record, as `mailer` does.
    #[derive(Clone)]
    struct Mailer(PathBuf);

    impl Invoker for Mailer {
        async fn invoke(&self, _: &str, event: Bytes) -> Result<Bytes, InvokeError> {
            let event: Value = serde_json::from_slice(&event).unwrap();
            for mail in mails_of(event["Records"].as_array().unwrap(), &self.0) {
                std::fs::write(mail, "").unwrap();
            }
            Ok("{}".into())
        }
    }

    #[tokio::test]
    async fn an_email_from_an_earlier_run_is_not_announced_again() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = Mailer(folder.path().to_owned());
        let announced = async |pks: &[&str]| {
            let records: Vec<_> = pks.iter().map(|pk| record("INSERT", pk)).collect();
            deliver_and_find(&mailer, "mailer", &records, folder.path()).await
        };
        assert_eq!(announced(&["OUTBOX#1"]).await, [folder.path().join("1.eml")]);
        assert!(announced(&["OUTBOX#1"]).await.is_empty());
        assert_eq!(announced(&["OUTBOX#1", "OUTBOX#2"]).await, [folder.path().join("2.eml")]);
    }

    #[test]
    fn delivery_resumes_at_the_first_record_that_failed() {
        let records = [record("a", "1"), record("b", "2"), record("c", "3")];
        let failed = |ids: &[&str]| {
            let failures: Vec<_> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
            first_failure(&json!({"batchItemFailures": failures}), &records)
        };
        assert_eq!(failed(&[]), None);
        assert_eq!(failed(&["c3", "b2"]), Some(1));
        assert_eq!(failed(&["x"]), None);
        assert_eq!(first_failure(&json!({}), &records), None);
    }
}
