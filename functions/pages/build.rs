//! Lists the files in `texts`, so that adding a language means adding a file.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

#[expect(clippy::disallowed_methods, reason = "cargo passes the folder in the environment")]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=texts");
    let mut names = Vec::new();
    for file in fs::read_dir("texts")? {
        names.extend(file?.file_name().into_string());
    }
    // Without this, the order would depend on the file system.
    names.sort();
    let mut list = String::from("&[");
    // Ignore the files of editors and systems, such as `.en.json.swp`, `._en.json` and `.DS_Store`.
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        let Some(language) = name.strip_suffix(".json") else { continue };
        let file = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/texts/{name}\")");
        let _ = write!(list, "(\"{language}\", include_str!({file})),");
    }
    list.push(']');
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("texts.rs"), list)
}
