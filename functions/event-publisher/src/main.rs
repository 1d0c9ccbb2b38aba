//! The binary of the function `event-publisher`: see the library.

fn main() -> std::process::ExitCode {
    lambda::serve::<event_publisher::EventPublisherFunction>()
}
