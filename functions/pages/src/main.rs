//! The binary of the function `pages`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<pages::PagesRoute>()
}
