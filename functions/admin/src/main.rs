//! The binary of the function `admin`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<admin::AdminRoute>()
}
