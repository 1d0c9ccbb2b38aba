//! The binary of the function `password-reset`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<password_reset::PasswordResetRoute>()
}
