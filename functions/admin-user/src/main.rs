//! The binary of the function `admin-user`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<admin_user::AdminUserRoute>()
}
