//! The binary of the function `login`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<login::LoginRoute>()
}
