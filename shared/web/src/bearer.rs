//! Reads the bearer token of a request from the `Authorization` header (RFC 6750 §2.1), and from nowhere else.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Problem;

/// The token of `Authorization: Bearer TOKEN`.
///
/// The scheme is case-insensitive (RFC 9110 §11.1). A request with another scheme, or none, is treated as having
/// no credentials. Several values are refused, even if a gateway has joined them with a comma, because two parsers
/// could choose different ones.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Problem::missing_token());
    };
    let value = value.to_str().map_err(|_| Problem::invalid_token())?;
    if values.next().is_some() || value.contains(',') {
        return Err(Problem::invalid_token());
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let token = rest.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Problem::missing_token());
    }
    if token.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(Problem::invalid_token());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        bearer_token(&headers).map(str::to_owned).map_err(|problem| problem.code())
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(read(&[&format!("{scheme} a.b.c")]), Ok("a.b.c".to_owned()));
        }
        assert_eq!(read(&["Bearer   a.b.c"]), Ok("a.b.c".to_owned()));
    }

    #[test]
    fn a_request_without_a_bearer_token_has_no_credentials() {
        for value in ["", "Bearer", "Bearer ", "Basic dTpw", "Digest a", "a.b.c", "Bearera.b.c"] {
            assert_eq!(read(&[value]), Err("missing_token"), "{value:?}");
        }
        assert_eq!(read(&[]), Err("missing_token"));
    }

    #[test]
    fn several_tokens_and_malformed_tokens_are_refused() {
        assert_eq!(read(&["Bearer a.b.c", "Bearer a.b.c"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c,Bearer a.b.c"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c, Basic dTpw"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c d.e.f"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c\td"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer ä"]), Err("invalid_token"));
    }
}
