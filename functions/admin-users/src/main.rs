//! The binary of the function `admin-users`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<admin_users::AdminUsersRoute>()
}
