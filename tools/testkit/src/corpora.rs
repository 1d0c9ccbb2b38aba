//! Public collections of difficult input, stored next to the tests that use them.

use crate::events::workspace;

/// The files of `JSONTestSuite`, by name.
///
/// A parser must accept the files named `y_…`, must refuse those named `n_…`, and may accept or refuse those named
/// `i_…`.
///
/// # Panics
/// When the files cannot be read.
#[must_use]
pub fn json_test_suite() -> Vec<(String, Vec<u8>)> {
    let folder = workspace().join("shared/web/tests/JSONTestSuite/test_parsing");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the suite exists")
        .map(|entry| {
            let path = entry.expect("a folder that can be read").path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file that can be read"))
        })
        .collect();
    files.sort();
    files
}

/// The strings of the Big List of Naughty Strings.
///
/// # Panics
/// When the list cannot be read.
#[must_use]
pub fn naughty_strings() -> Vec<String> {
    let path = workspace().join("functions/register/tests/blns/blns.json");
    let text = std::fs::read_to_string(path).expect("the list exists");
    serde_json::from_str(&text).expect("an array of strings")
}
