//! The binary of the function `mailer`: see the library.

fn main() -> std::process::ExitCode {
    lambda::serve::<mailer::MailerFunction>()
}
