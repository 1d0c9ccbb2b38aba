//! The compiled functions behind the local gateway, over HTTP.

mod end_to_end {
    mod access;
    mod dev;
    mod hostile;
    mod interoperate;
    mod server;
    mod session;
}
