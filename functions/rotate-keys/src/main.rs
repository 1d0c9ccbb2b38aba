//! The binary of the function `rotate-keys`: see the library.

fn main() -> std::process::ExitCode {
    lambda::serve::<rotate_keys::RotateKeys>()
}
