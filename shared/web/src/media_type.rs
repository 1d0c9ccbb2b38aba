//! Parses media types (RFC 9110 §8.3.1).

/// Whether a `Content-Type` value is `application/json`, with the charset UTF-8 or with none.
///
/// Other parameters have no meaning for this type. They are ignored, but must be well-formed.
pub(crate) fn is_json_in_utf8(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let end = value.iter().position(|&byte| byte != b'/' && !is_token(byte));
    let (essence, parameters) = value.split_at(end.unwrap_or(value.len()));
    essence.eq_ignore_ascii_case(b"application/json")
        && parse_parameters(parameters).is_some_and(|parameters| {
            let mut charsets =
                parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
            charsets.all(|(_, value)| value.eq_ignore_ascii_case(b"utf-8"))
        })
}

/// Parses `parameters = *( OWS ";" OWS [ parameter ] )` (RFC 9110 §5.6.6).
fn parse_parameters(mut rest: &[u8]) -> Option<Vec<(&[u8], Vec<u8>)>> {
    let mut parameters = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(parameters);
        }
        rest = rest.strip_prefix(b";")?.trim_ascii_start();
        let (name, after) = split_token(rest);
        if name.is_empty() {
            continue;
        }
        let after = after.strip_prefix(b"=")?;
        let (value, after) = match after.strip_prefix(b"\"") {
            Some(quoted) => split_quoted(quoted)?,
            None => match split_token(after) {
                ([], _) => return None,
                (token, after) => (token.to_vec(), after),
            },
        };
        parameters.push((name, value));
        rest = after;
    }
}

fn split_token(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// Splits off the value of a quoted string (RFC 9110 §5.6.4) whose opening quote has already been read.
fn split_quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

/// Whether the byte may occur in a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_json_in_utf8_is_accepted() {
        for good in [
            "application/json",
            " application/json\t",
            "APPLICATION/Json",
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
            "application/json\t;\tCharSet=\"Utf-8\"",
            "application/json;charset=\"u\\tf-8\"",
            "application/json;",
            "application/json ; ; charset=utf-8;",
            "application/json; charset=utf-8; charset=\"utf-8\"",
            "application/json; version=1; q=\"a;charset=latin1\"",
            "application/json; x=\"\"",
            "application/json; x=\"a\\\"b\"",
            "application/json; x=\"\u{e9}\"",
        ] {
            assert!(is_json_in_utf8(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn other_types_other_charsets_and_malformed_values_are_refused() {
        for bad in [
            "",
            ";charset=utf-8",
            "json",
            "application",
            "application/",
            "application/json5",
            "application /json",
            "application/ json",
            "application/json/x",
            "application/json, application/json",
            "application/json charset=utf-8",
            "application/json; charset",
            "application/json; charset=",
            "application/json; charset =utf-8",
            "application/json; charset= utf-8",
            "application/json; charset=\"utf-8",
            "application/json; charset=\"utf-8\\",
            "application/json; charset=\"utf-8\"x",
            "application/json; charset='utf-8'",
            "application/json; charset=utf-16",
            "application/json; charset=iso-8859-1",
            "application/json; charset=\"\"",
            "application/json; charset=\" utf-8\"",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; =utf-8",
            "application/json; x=\u{e9}",
        ] {
            assert!(!is_json_in_utf8(bad.as_bytes()), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            is_json_in_utf8(&value);
        }

        #[test]
        fn a_quoted_charset_equals_the_unquoted_one(escapes in proptest::collection::vec(any::<bool>(), 5)) {
            let quoted: String = "utf-8".chars().zip(escapes)
                .map(|(c, escaped)| if escaped { format!("\\{c}") } else { c.to_string() })
                .collect();
            let value = format!("application/json ; charset=\"{quoted}\"");
            prop_assert!(is_json_in_utf8(value.as_bytes()));
        }
    }
}
