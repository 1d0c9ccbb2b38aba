//! Entity tags and `If-Match` (RFC 9110 §8.8.3 and §13.1.1): a client that loses a race gets an error instead of
//! overwriting the winner's change.

use http::header::{ETAG, HeaderValue, IF_MATCH};
use identity::Revision;

use crate::response::Response;
use crate::{Input, Output, Part, Problem, Request};

/// The answer `O` with the entity tag of an account's revision.
#[derive(Clone, Copy, Debug)]
pub struct Tagged<O>(pub Revision, pub O);

impl<O: Output> Output for Tagged<O> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        let tag = HeaderValue::from_str(&format!("\"{}\"", self.0));
        response.headers.insert(ETAG, tag.expect("a number is a header value"));
        response
    }
}

/// The `If-Match` header: the revisions that the client expects.
///
/// If the value is not a list of entity tags, only the tags before the syntax error can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Expected);

/// The content of an `If-Match` header.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    /// There is no header.
    Unspecified,
    /// `*`: any revision.
    Any,
    /// One of these opaque tags.
    OneOf(Vec<String>),
}

impl Input for IfMatch {
    fn read(request: &Request) -> Result<Self, Problem> {
        request.note(Part::Headers, IF_MATCH.as_str(), false);
        let lines = request.headers().get_all(IF_MATCH).iter();
        let lines: Vec<_> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
        Ok(Self(match lines.as_slice() {
            [] => Expected::Unspecified,
            [line] if line.trim() == "*" => Expected::Any,
            lines => Expected::OneOf(lines.iter().flat_map(|line| strong_tags(line)).collect()),
        }))
    }
}

impl IfMatch {
    /// Refuses a request without the header.
    ///
    /// # Errors
    /// When there is no header. The status is 428.
    pub fn required(self) -> Result<Self, Problem> {
        match self.0 {
            Expected::Unspecified => Err(Problem::precondition_required()),
            Expected::Any | Expected::OneOf(_) => Ok(self),
        }
    }

    /// Refuses a request that does not expect the revision `current`. A request without the header is not refused.
    ///
    /// # Errors
    /// When the header does not match. The status is 412.
    pub fn check(&self, current: Revision) -> Result<(), Problem> {
        let current = current.to_string();
        match &self.0 {
            Expected::Unspecified | Expected::Any => Ok(()),
            Expected::OneOf(tags) if tags.contains(&current) => Ok(()),
            Expected::OneOf(_) => Err(Problem::precondition_failed()),
        }
    }
}

/// The strong tags in a list, without quotes. A weak tag matches nothing (RFC 9110 §13.1.1). Nothing after a syntax
/// error is read.
fn strong_tags(list: &str) -> Vec<String> {
    let (mut tags, mut rest) = (Vec::new(), list);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (is_strong, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (false, quoted),
            None => (true, rest),
        };
        let Some((tag, after)) = quoted.strip_prefix('"').and_then(|it| it.split_once('"')) else {
            return tags;
        };
        if is_strong {
            tags.push(tag.to_owned());
        }
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return tags;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Edge, Event};

    fn header(lines: &[&str]) -> IfMatch {
        let mut event = Event::default();
        for line in lines {
            event.headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        IfMatch::read(&Request::new(event, &Edge::default(), &[]).0).unwrap()
    }

    fn status(result: Result<(), Problem>) -> u16 {
        result.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_tag_of_the_current_revision_matches() {
        for (lines, expected) in [
            (&[][..], 200),
            (&["*"], 200),
            (&[" * "], 200),
            (&["\"7\""], 200),
            (&["\"6\", \"7\""], 200),
            (&["\"6\",,\"a,b\" , \"7\" "], 200),
            (&["W/\"7\", \"7\""], 200),
            (&["\"6\"", "\"7\""], 200),
            (&[""], 412),
            (&["\"6\""], 412),
            (&["\"07\""], 412),
            (&["\"+7\""], 412),
            (&["\" 7\""], 412),
            (&["7"], 412),
            (&["\"7"], 412),
            (&["W/\"7\""], 412),
            (&["w/\"7\""], 412),
            (&["\"6\" \"7\""], 412),
            (&["*, \"6\""], 412),
            (&["*", "*"], 412),
            (&["\"6,7\""], 412),
        ] {
            assert_eq!(status(header(lines).check(Revision::new(7))), expected, "{lines:?}");
        }
    }

    #[test]
    fn if_match_is_required_but_may_have_any_value() {
        assert_eq!(status(header(&[]).required().map(drop)), 428);
        for line in ["*", "\"1\"", "x", ""] {
            assert_eq!(status(header(&[line]).required().map(drop)), 200, "{line}");
        }
    }

    proptest! {
        #[test]
        fn only_a_quoted_revision_matches(line in "[\"W/0-9,* ]{0,24}", revision in 0_u64..20) {
            let matches = header(&[&line]).check(Revision::new(revision)).is_ok();
            let expected = line.trim() == "*" || line.contains(&format!("\"{revision}\""));
            prop_assert!(expected || !matches);
        }
    }
}
