//! The binary of the function `register`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<register::RegisterRoute>()
}
