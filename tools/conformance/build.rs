//! Extracts the worked examples of `docs/add-a-route.md`, so that a test compiles the code on the page.

use std::path::Path;
use std::{env, fs, io};

const PAGE: &str = "../../docs/add-a-route.md";

#[expect(clippy::disallowed_methods, reason = "cargo passes the folder in the environment")]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for block in page.split("\n```rust\n").skip(1) {
        let code = block.split("\n```").next().unwrap_or_default();
        let Some(name) = code.split("NAME: &'static str = \"").nth(1) else { continue };
        let name = name.split('"').next().unwrap_or_default();
        // `include!` does not accept inner doc comments.
        let lines = code.lines().filter(|line| !line.starts_with("//!"));
        let code: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(Path::new(&out).join(format!("{name}.rs")), code)?;
    }
    Ok(())
}
