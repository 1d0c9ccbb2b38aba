//! The binary of the function `logout-all`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<logout_all::LogoutAllRoute>()
}
