//! The binary of the function `me`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<me::MeRoute>()
}
