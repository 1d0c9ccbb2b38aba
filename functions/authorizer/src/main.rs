//! The binary of the function `authorizer`: see the library.

fn main() -> std::process::ExitCode {
    web::serve_event::<authorizer::Authorizer>()
}
