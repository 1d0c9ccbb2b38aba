//! The binary of the function `sessions`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<sessions::SessionsRoute>()
}
