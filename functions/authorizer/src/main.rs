//! The binary of the function `authorizer`: see the library.

fn main() -> std::process::ExitCode {
    lambda::serve::<authorizer::Authorizer>()
}
