//! The pages that local emails link to. In a deployment, emails link to the owner's front end instead.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, Method, Response};

/// The path of the URL in `MAIL_LINK_BASE`.
pub(crate) const BASE: &str = "/dev";

/// Whether `path` is [`BASE`] or below it. There may be no page at `path`.
pub(super) fn is_below_base(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The page at `path`, if there is one.
pub(super) fn page(method: &Method, path: &str) -> Option<Response<Bytes>> {
    let text = match path.strip_prefix(BASE)? {
        "/reset-password" => include_str!("pages/reset-password.html"),
        "/verify-email" => include_str!("pages/verify-email.html"),
        _ => return None,
    };
    if method != Method::GET {
        return None;
    }
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    // The page's URL contains a token, which must be neither stored nor passed on.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; connect-src 'self'; \
                  form-action 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}
