//! The binary of the function `protected`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<protected::ProtectedRoute>()
}
