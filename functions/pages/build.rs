//! Lists the files in `texts`, so that adding a language means adding a file.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

#[expect(clippy::disallowed_methods, reason = "cargo passes the folder in the environment")]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=texts");
    let mut list = String::from("&[");
    for file in fs::read_dir("texts")? {
        let path = file?.path();
        let Some(language) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let file = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/texts/{language}.json\")");
        let _ = write!(list, "(\"{language}\", include_str!({file})),");
    }
    list.push(']');
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("texts.rs"), list)
}
