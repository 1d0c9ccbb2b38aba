//! The binary of the function `protected-route-admin`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<protected_route_admin::ProtectedRouteAdmin>()
}
