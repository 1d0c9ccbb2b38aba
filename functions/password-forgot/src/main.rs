//! The binary of the function `password-forgot`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<password_forgot::PasswordForgotRoute>()
}
