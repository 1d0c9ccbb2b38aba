//! The binary of the function `mailer`: see the library.

fn main() -> std::process::ExitCode {
    web::serve_event::<mailer::MailerFunction>()
}
