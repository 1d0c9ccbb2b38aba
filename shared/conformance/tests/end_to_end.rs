//! The compiled functions behind the local gateway, over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod end_to_end {
    mod access;
    mod dev;
    mod hostile;
    mod interoperate;
    mod mails;
    mod refresh;
    mod rotation;
    mod server;
    mod session;
    mod throttle;
}
