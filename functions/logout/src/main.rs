//! The binary of the function `logout`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<logout::LogoutRoute>()
}
