//! The binary of the function `protected-route-super-admin`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<protected_route_super_admin::ProtectedRouteSuperAdmin>()
}
