//! Characters that a reader cannot see, or that change how other characters are shown.

use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Whether `c` is default-ignorable in Unicode, such as a zero-width character, a joiner, a soft hyphen, a filler,
/// a variation selector or a tag.
pub(super) fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Whether `c` is a joiner, which some scripts need between two letters.
pub(super) fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether `c` is forbidden in names because a reader cannot recognize it: control characters, invisible
/// characters, characters that set the writing direction, and private or unassigned code points. The plain space is not
/// among them, because the grammar of each kind of name decides whether to allow it.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let unseen = matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    );
    // U+2800 is the Braille pattern without dots: its category is symbol, but it looks blank.
    let blank = c == '\u{2800}' || (category == GeneralCategory::SpaceSeparator && c != ' ');
    unseen || blank || is_ignorable(c) || CodePointSetData::new::<BidiControl>().contains(c)
}
