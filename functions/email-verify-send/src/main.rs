//! The binary of the function `email-verify-send`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<email_verify_send::EmailVerifySendRoute>()
}
