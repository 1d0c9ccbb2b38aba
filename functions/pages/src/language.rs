//! The texts in each language, and the choice of a language.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The language for users whose languages are not available.
const DEFAULT: &str = "en";

/// Each language with its file: `texts/<language>.json`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/texts.rs"));

/// The texts of one language. `{product}` and `{min}` stand for the product's name and the minimum length of a password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Texts {
    /// The writing direction: `ltr` or `rtl`.
    pub(crate) direction: String,
    pub(crate) reset_password: PageTexts,
    pub(crate) verify_email: PageTexts,
    pub(crate) confirm_email: PageTexts,
    pub(crate) new_password: String,
    pub(crate) password_rule: String,
    pub(crate) show_password: String,
    pub(crate) no_script: String,
    /// A text for each `code` of a problem or of one of its `errors`, and `other` for all other codes.
    pub(crate) errors: BTreeMap<String, String>,
}

/// The texts of one page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageTexts {
    pub(crate) title: String,
    pub(crate) introduction: String,
    pub(crate) button: String,
    pub(crate) done: String,
    pub(crate) invalid_link: String,
}

/// The texts in all languages.
pub(crate) struct Languages(BTreeMap<&'static str, Texts>);

/// The texts of a language are unusable.
#[derive(Debug, thiserror::Error)]
#[error("texts/{0}.json: {1}")]
pub(crate) struct TextsError(&'static str, serde_json::Error);

impl Languages {
    pub(crate) fn read() -> Result<Self, TextsError> {
        let parsed = FILES.iter().map(|(language, json)| {
            let texts = serde_json::from_str(json).map_err(|error| TextsError(language, error))?;
            Ok((*language, texts))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// The available language that a user prefers according to `Accept-Language` (RFC 9110 §12.5.4), and its texts. A
    /// range such as `de-AT` also accepts `de` (RFC 4647 §3.4).
    pub(crate) fn best(&self, accepted: &str) -> (&'static str, &Texts) {
        let weighted = |text: &str| {
            let (tag, weight) = match text.split_once(';') {
                Some((tag, weight)) => (tag, weight.trim().strip_prefix("q=")?.parse().ok()?),
                None => (text, 1.0),
            };
            (weight > 0.0).then(|| (tag.trim().to_ascii_lowercase(), weight))
        };
        let mut ranges: Vec<(String, f32)> = accepted.split(',').filter_map(weighted).collect();
        // A stable sort: among equal weights, the first one wins.
        ranges.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let found = ranges.iter().find_map(|(tag, _)| self.lookup(tag));
        found.or_else(|| self.lookup(DEFAULT)).expect("texts/en.json exists")
    }

    fn lookup(&self, mut tag: &str) -> Option<(&'static str, &Texts)> {
        loop {
            let found = self.0.iter().find(|(language, _)| language.eq_ignore_ascii_case(tag));
            if let Some((language, texts)) = found {
                return Some((language, texts));
            }
            (tag, _) = tag.rsplit_once('-')?;
        }
    }
}
