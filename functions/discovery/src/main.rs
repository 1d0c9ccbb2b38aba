//! The binary of the function `discovery`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<discovery::DiscoveryRoute>()
}
