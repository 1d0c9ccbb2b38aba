//! Sends security events to an event bus of Amazon `EventBridge`, so that other systems can react to them. It is invoked
//! for new events in the stream of the users' table.
//!
//! The stream contains only keys. The function reads an event by its key. If the event no longer exists, for example
//! because the account has been deleted, nothing is sent. If the bus does not accept an event, Lambda delivers its
//! record again, together with all later records. An event may therefore be sent more than once, and receivers must
//! deduplicate by `id`.

mod bus;

use std::convert::Infallible;
use std::error::Error;

use bus::{Bus, BusConfig, Message};
use lambda::stream::{BatchAnswer, Change, StreamEvent, StreamRecord};
use lambda::{BootError, EventHandler, World};
use process::Metric;
use store::{EventKey, Events, StoreError};

/// Sends new events to the bus.
pub struct EventPublisherFunction {
    events: Events,
    bus: Bus,
}

impl EventHandler for EventPublisherFunction {
    const NAME: &'static str = "event-publisher";
    const INVOKED_BY: &'static str = "DynamoDB Streams";
    type Settings = (dynamo::Config, store::Config, BusConfig);
    type Event = StreamEvent;
    type Answer = BatchAnswer;
    type Error = Infallible;

    async fn open((database, table, bus): Self::Settings, _: &World) -> Result<Self, BootError> {
        let events = Events::new(&table, dynamo::connect(&database));
        Ok(Self { events, bus: Bus::connect(&bus) })
    }

    async fn handle(&self, event: StreamEvent) -> Result<BatchAnswer, Infallible> {
        let mut answer = BatchAnswer::default();
        let mut batch = Vec::new();
        for record in event.records() {
            match record {
                Ok(record) => match self.message(&record).await {
                    Ok(None) => {}
                    Ok(Some(message)) => batch.push((record, message)),
                    Err(error) => {
                        log_failure(&record, &error);
                        // This version cannot read the event. Another delivery would not help, and would hold up all
                        // later events.
                        if matches!(error, StoreError::Unusable(_)) {
                            Metric::EventsGivenUp.add(1.0);
                        } else {
                            answer.deliver_again(record);
                        }
                    }
                },
                // Another delivery would not help.
                Err(error) => {
                    log_unreadable(&error);
                    Metric::EventsGivenUp.add(1.0);
                }
            }
        }
        for (record, error) in self.bus.send(batch).await {
            log_failure(&record, &*error);
            answer.deliver_again(record);
        }
        Ok(answer)
    }
}

impl EventPublisherFunction {
    /// Reads the event of a record. `None` if the record is not a new event, or the event no longer exists.
    async fn message(&self, record: &StreamRecord) -> Result<Option<Message>, StoreError> {
        let key = EventKey::parse(&record.pk, &record.sk);
        let Some(key) = key.filter(|_| record.change == Change::Created) else { return Ok(None) };
        let event = self.events.find(&key).await?;
        Ok(event.map(|event| Message::new(key.user, &event)))
    }
}

fn log_failure(record: &StreamRecord, error: &(dyn Error + 'static)) {
    let event_key = &*record.sk;
    tracing::error!(event = "event_not_published", event_key, error, "events");
}

fn log_unreadable(error: &(dyn Error + 'static)) {
    tracing::error!(event = "event_not_published", error, "events");
}
