//! The binary of the function `protected-route`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<protected_route::ProtectedRoute>()
}
