//! The binary of the function `protected-route-user`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<protected_route_user::ProtectedRouteUser>()
}
