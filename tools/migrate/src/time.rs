//! Parses the times of other systems.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Parses a time as databases write it: with an offset, without an offset (in UTC), or as seconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return TimeZone::UTC.to_timestamp(local).ok();
    }
    Timestamp::from_second(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_the_forms_of_databases_are_parsed() {
        for text in [
            "2024-05-01T12:00:00Z",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01 12:00:00",
            "2024-05-01 12:00:00.000000",
            "2024-05-01 12:00:00.000+00",
            "2024-05-01 12:00:00+00:00",
            "1714564800",
        ] {
            let time = parse_time(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.as_second(), 1_714_564_800, "{text}");
        }
        for text in ["", "yesterday", "2024-13-01", "99999999999999999999"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
