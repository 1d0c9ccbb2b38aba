//! The binary of the function `account-export`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<account_export::AccountExportRoute>()
}
