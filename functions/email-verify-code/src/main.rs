//! The binary of the function `email-verify-code`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<email_verify_code::EmailVerifyCodeRoute>()
}
