//! The bearer token of a request (RFC 6750 §2.1): from the `Authorization` header alone.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::Problem;

/// The token of `Authorization: Bearer TOKEN`.
///
/// The scheme's case does not matter (RFC 9110 §11.1). With another scheme, or none, there are no
/// credentials. Several values are refused, even if a gateway has joined them with a comma, because different
/// readers might choose different ones.
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
    fn reads_one_token_whatever_the_case_of_the_scheme() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(read(&[&format!("{scheme} a.b.c")]), Ok("a.b.c".to_owned()));
        }
        assert_eq!(read(&["Bearer   a.b.c"]), Ok("a.b.c".to_owned()));
    }

    #[test]
    fn no_credentials_are_missing_ones() {
        for value in ["", "Bearer", "Bearer ", "Basic dTpw", "Digest a", "a.b.c", "Bearera.b.c"] {
            assert_eq!(read(&[value]), Err("missing_token"), "{value:?}");
        }
        assert_eq!(read(&[]), Err("missing_token"));
    }

    #[test]
    fn several_are_refused() {
        assert_eq!(read(&["Bearer a.b.c", "Bearer a.b.c"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c,Bearer a.b.c"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c, Basic dTpw"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c d.e.f"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer a.b.c\td"]), Err("invalid_token"));
        assert_eq!(read(&["Bearer ä"]), Err("invalid_token"));
    }
}
