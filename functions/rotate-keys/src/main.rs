//! The binary of the function `rotate-keys`: see the library.

fn main() -> std::process::ExitCode {
    web::serve_event::<rotate_keys::RotateKeys>()
}
