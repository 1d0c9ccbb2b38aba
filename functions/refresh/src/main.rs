//! The binary of the function `refresh`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<refresh::RefreshRoute>()
}
