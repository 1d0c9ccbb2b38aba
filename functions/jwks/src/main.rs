//! The binary of the function `jwks`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<jwks::JwksRoute>()
}
