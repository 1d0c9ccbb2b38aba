//! The binary of the function `email-verify`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<email_verify::EmailVerifyRoute>()
}
