//! The binary of the function `account-events`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<account_events::AccountEventsRoute>()
}
