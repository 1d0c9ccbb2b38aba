//! The binary of the function `admin-invites`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<admin_invites::AdminInvitesRoute>()
}
