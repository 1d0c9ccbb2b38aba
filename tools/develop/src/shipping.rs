//! The sizes of the functions' binaries as shipped.

use std::path::Path;

use anyhow::{Context, bail};
use template::process::{Group, cargo, command};
use template::project::Project;
use template::{Template, ui};
use tokio::process::Command;

use crate::tools::Tools;

/// The functions that tests compile as for a release: one sends email, one hashes passwords, one does neither.
/// Compiling the other functions would take minutes, and they use the same crates. The mailer is first, as in the
/// template.
pub const SHIPPED: [&str; 3] = ["mailer", "login", "protected-route"];

/// How the release profile links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// As shipped: without link-time optimization.
    Shipped,
    /// With fat link-time optimization, for comparison.
    Fat,
}

impl Link {
    /// The maximum size of a binary, in MiB. A larger binary would slow down cold starts.
    fn limit(self) -> f64 {
        match self {
            Self::Shipped => 11.0,
            Self::Fat => 9.5,
        }
    }
}

/// Builds all functions one by one and prints their sizes. Returns whether all are small enough.
///
/// # Errors
/// When the template cannot be read or the build fails.
pub async fn build(project: &Project, link: Link) -> anyhow::Result<bool> {
    let template = Template::read(&project.template()).context("template.yaml")?;
    let mut binaries = Vec::new();
    for function in template.functions {
        let mut build = cargo();
        build.current_dir(project.root()).args(["build", "--release", "--package", &function.name]);
        if link == Link::Fat {
            build.env("CARGO_PROFILE_RELEASE_LTO", "fat");
        }
        if !Group::spawn(&mut build).context("cannot run cargo")?.wait().await?.success() {
            bail!("cannot build {}: see the errors above", function.name);
        }
        let binary = project.root().join("target/release").join(&function.name);
        // Measure now, because a build with the other `Link` overwrites the binary.
        binaries.push((function.name, mebibytes(&binary)?));
    }
    Ok(report(&binaries, link))
}

/// The commands that compile [`SHIPPED`] as `sam build` does: one by one, each with only the features that it requests.
pub(crate) fn builds(tools: &Tools) -> Vec<Command> {
    let build = |function: &str| {
        let mut build = command(tools.program("cargo-lambda"));
        build.args(["lambda", "build", "--release", "--package", function]);
        // The linker of cargo-lambda, Zig, is among the tools.
        build.env("PATH", tools.path());
        build
    };
    SHIPPED.map(build).into()
}

/// Prints the sizes of functions that `sam build` has built. Returns whether all are small enough.
///
/// # Errors
/// When a function has not been built.
pub fn check_built(project: &Project, functions: &[&str]) -> anyhow::Result<bool> {
    let size = |function: &&str| {
        let binary = project.root().join("target/lambda").join(function).join("bootstrap");
        Ok(((*function).to_owned(), mebibytes(&binary)?))
    };
    let binaries: Vec<_> = functions.iter().map(size).collect::<anyhow::Result<_>>()?;
    Ok(report(&binaries, Link::Shipped))
}

/// Prints names and sizes. Returns whether none exceeds the limit.
fn report(binaries: &[(String, f64)], link: Link) -> bool {
    let limit = link.limit();
    let row = |(name, size): &(String, f64)| {
        let verdict = if *size <= limit { "" } else { "TOO LARGE" };
        [name.clone(), format!("{size:.1} MiB"), verdict.to_owned()]
    };
    let rows: Vec<_> = binaries.iter().map(row).collect();
    for row in ui::columns(&rows) {
        ui::line(row);
    }
    ui::line(format_args!("the limit is {limit} MiB"));
    binaries.iter().all(|(_, size)| *size <= limit)
}

fn mebibytes(binary: &Path) -> anyhow::Result<f64> {
    let size = std::fs::metadata(binary)
        .with_context(|| format!("there is no {}", binary.display()))?
        .len();
    #[expect(clippy::cast_precision_loss, reason = "no binary has 2^52 bytes")]
    Ok(size as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_above_the_limit_is_reported() {
        let sizes = |size| [("small".to_owned(), 2.0), ("login".to_owned(), size)];
        assert!(report(&sizes(11.0), Link::Shipped));
        assert!(!report(&sizes(11.1), Link::Shipped));
        assert!(!report(&sizes(9.6), Link::Fat));
    }

    #[test]
    fn a_binary_that_was_not_built_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::at(folder.path().to_owned());
        assert!(check_built(&project, &["a"]).is_err());
        let built = folder.path().join("target/lambda/a");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::write(built.join("bootstrap"), "x").unwrap();
        assert!(check_built(&project, &["a"]).unwrap());
    }
}
