//! The release profile as it is shipped: fat LTO, one codegen unit, stripped.

use std::path::PathBuf;

use anyhow::{Context, bail};
use template::process::{Group, cargo};
use template::project::Project;
use template::{Template, ui};

/// The largest that a function's binary may be, in MiB: the larger, the longer its cold start.
const LARGEST_MIB: f64 = 9.5;

/// What the tests build: one that hashes, one that mails, one that does neither. The others are made of the
/// same, and these have the same features of all that they share.
pub const SAMPLES: [&str; 3] = ["login", "mailer", "protected-route"];

/// The names of all functions.
///
/// # Errors
/// When the template cannot be read.
pub fn all(project: &Project) -> anyhow::Result<Vec<String>> {
    let template = Template::read(&project.template()).context("template.yaml")?;
    Ok(template.functions.into_iter().map(|function| function.name).collect())
}

/// Builds functions, says how large they are, and whether none is too large. Those of one of `builds` are
/// built together: several are linked at a time, and each has the features of all of them.
///
/// # Errors
/// When the build fails.
pub async fn sizes(project: &Project, builds: &[&[&str]]) -> anyhow::Result<bool> {
    let folder = project.root().join("target/release");
    let mut rows = Vec::new();
    let mut good = true;
    for functions in builds {
        let mut build = cargo();
        build.current_dir(project.root()).args(["build", "--release"]);
        build.args(functions.iter().flat_map(|function| ["--package", function]));
        if !Group::spawn(&mut build).context("cannot run cargo")?.wait().await?.success() {
            bail!("cannot build {}: see the errors above", functions.join(", "));
        }
        for function in *functions {
            let size = mebibytes(&folder.join(function))?;
            good &= size <= LARGEST_MIB;
            let verdict = if size <= LARGEST_MIB { "" } else { "TOO LARGE" };
            rows.push([(*function).to_owned(), format!("{size:.1} MiB"), verdict.to_owned()]);
        }
    }
    for row in ui::columns(&rows) {
        ui::line(row);
    }
    ui::line(format_args!("none may have more than {LARGEST_MIB} MiB"));
    Ok(good)
}

fn mebibytes(binary: &PathBuf) -> anyhow::Result<f64> {
    let size = std::fs::metadata(binary)
        .with_context(|| format!("there is no {}", binary.display()))?
        .len();
    #[expect(clippy::cast_precision_loss, reason = "no binary has 2^52 bytes")]
    Ok(size as f64 / 1_048_576.0)
}
