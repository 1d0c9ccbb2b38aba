//! The binary of the function `email-change`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<email_change::EmailChangeRoute>()
}
