//! CORS as an HTTP API implements it: the API's configuration determines the CORS headers, and the API replaces those
//! that a function returns.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use template::CorsConfiguration;

/// An origin as a browser sends it: `http://localhost:5173`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl std::str::FromStr for Origin {
    type Err = String;

    /// Parses an origin as the template's parameter `CorsOrigins` accepts it.
    fn from_str(text: &str) -> Result<Self, String> {
        let authority =
            text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or("");
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        };
        let host_fits = !host.is_empty() && host.bytes().all(name);
        let port_fits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if host_fits && port_fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected an origin such as http://localhost:5173, without a path".to_owned())
        }
    }
}

/// The origins that may call the API, and what the template allows them to do.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<Origin>,
    configuration: CorsConfiguration,
}

impl Cors {
    /// Applies the template's configuration to these origins. Without origins, the API sends no CORS headers, as if
    /// `CorsOrigins` were empty.
    #[must_use]
    pub fn new(origins: Vec<Origin>, configuration: CorsConfiguration) -> Self {
        Self { origins, configuration }
    }

    /// The origin of a request, if that origin is allowed.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.origins
            .iter()
            .any(|allowed| allowed.0.as_bytes() == origin.as_bytes())
            .then(|| origin.clone())
    }

    /// Advice for the developer, if the request is a preflight from an origin that is not allowed. The response gives
    /// no reason, and the browser reports only that permission is missing.
    pub(super) fn advice(&self, parts: &Parts) -> Option<String> {
        let origin = parts.headers.get(ORIGIN)?.to_str().ok()?;
        let refused = parts.method == Method::OPTIONS
            && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.origin(&parts.headers).is_none();
        refused.then(|| {
            format!(
                "pages from {origin:?} may not call the API: to allow this origin, restart with \
                 --cors-origin"
            )
        })
    }

    /// Answers an `OPTIONS` request without invoking a function. Returns `None` if CORS is off, and for other methods.
    ///
    /// An HTTP API answers every `OPTIONS` request with 204, without CORS headers if the origin is not allowed.
    pub(super) fn preflight<B: Default>(&self, parts: &Parts) -> Option<Response<B>> {
        if self.origins.is_empty() || parts.method != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.origin(&parts.headers).is_some()
            && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            let CorsConfiguration { methods, headers, max_age, .. } = &self.configuration;
            let age = max_age.map(|age| age.to_string()).unwrap_or_default();
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, methods.join(",")),
                (ACCESS_CONTROL_ALLOW_HEADERS, headers.join(",")),
                (ACCESS_CONTROL_MAX_AGE, age),
            ] {
                insert(response.headers_mut(), name, &value);
            }
        }
        Some(response)
    }

    /// Replaces a function's CORS headers with those that let pages from `origin` read the response. Does nothing if
    /// CORS is off.
    pub(super) fn finish(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        if self.origins.is_empty() {
            return;
        }
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = self.configuration.exposed.join(",");
        insert(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
        if self.configuration.credentials {
            insert(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_accepted_if_the_template_accepts_it() {
        for (text, accepted) in [
            ("http://localhost:5173", true),
            ("https://app.example.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:5173/", false),
            ("http://localhost:", false),
            ("http://localhost:x", false),
            ("http://", false),
            ("localhost:5173", false),
            ("ftp://localhost", false),
            ("https://APP.example.com", false),
            ("*", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Origin>().is_ok(), accepted, "{text}");
        }
    }

    /// The template allows no credentials. An owner who adds cookies may allow them.
    #[test]
    fn credentials_are_allowed_only_if_the_template_allows_them() {
        const LISTED: &str = "http://localhost:5173";
        for credentials in [false, true] {
            let exposed = vec!["etag".to_owned(), "retry-after".to_owned()];
            let configuration = CorsConfiguration { exposed, credentials, ..Default::default() };
            let cors = Cors::new(vec![LISTED.parse().unwrap()], configuration);
            for origin in [LISTED, "http://localhost:3000"] {
                let request = http::Request::builder().header(ORIGIN, origin);
                let request = request.body(()).unwrap().into_parts().0;
                let mut headers = HeaderMap::new();
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                cors.finish(&mut headers, cors.origin(&request.headers));
                let listed = origin == LISTED;
                let allowed = headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS);
                assert_eq!(allowed, listed && credentials, "{origin}");
                let exposed = headers.get(ACCESS_CONTROL_EXPOSE_HEADERS);
                let expected = HeaderValue::from_static("etag,retry-after");
                assert_eq!(exposed, listed.then_some(&expected), "{origin}");
            }
        }
    }

    #[test]
    fn a_refused_preflight_is_reported_with_advice() {
        let listed = ["http://localhost:5173".parse().unwrap()];
        let cors = Cors::new(listed.into(), CorsConfiguration::default());
        let advice = |cors: &Cors, method: Method, origin: &str, preflight: bool| {
            let mut request = http::Request::builder().method(method).header(ORIGIN, origin);
            if preflight {
                request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
            }
            cors.advice(&request.body(()).unwrap().into_parts().0)
        };
        let (listed, other) = ("http://localhost:5173", "http://localhost:3000");
        for (cors, origin) in [(&cors, other), (&Cors::default(), listed)] {
            let advice = advice(cors, Method::OPTIONS, origin, true).unwrap();
            assert!(advice.contains(origin) && advice.contains("--cors-origin"), "{advice}");
        }
        assert_eq!(advice(&cors, Method::OPTIONS, listed, true), None);
        assert_eq!(advice(&cors, Method::OPTIONS, other, false), None, "no preflight");
        assert_eq!(advice(&cors, Method::POST, other, true), None, "no preflight");
    }
}
