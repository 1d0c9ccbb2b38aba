//! The binary of the function `password-change`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<password_change::PasswordChangeRoute>()
}
