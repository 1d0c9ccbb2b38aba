//! The binary of the function `step-up`: see the library.

fn main() -> std::process::ExitCode {
    web::serve::<step_up::StepUpRoute>()
}
