//! The binary of the function `account-delete`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<account_delete::AccountDeleteRoute>()
}
