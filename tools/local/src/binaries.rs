//! Builds the functions' binaries and reads their descriptions.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use cargo_metadata::Message;
use serde::Deserialize;
use template::process::{Group, cargo, command};
use template::project::Project;
use tokio::io::AsyncReadExt;

/// The description that a function's binary prints with `--describe`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Description {
    /// The function's name.
    pub name: String,
    /// The methods and paths that it serves. Empty for a function without HTTP.
    pub endpoints: Vec<Endpoint>,
    /// Its access rule: `anyone`, `by token, role admin`, `checked` …
    pub access: String,
}

/// A method and a path, and what the function reads from a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The names that the function reads from each part of a request (`body`, `query`, `path`, `headers`), and whether
    /// each value is required.
    pub inputs: BTreeMap<String, BTreeMap<String, bool>>,
}

/// Builds all binaries of the workspace and returns them by name. Cargo's progress and errors go to standard error.
///
/// # Errors
/// When the build fails.
pub async fn build(project: &Project, release: bool) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    check_compiler().await?;
    let (success, binaries) = cargo_build(project, release, &["--workspace", "--bins"]).await?;
    if !success {
        bail!("the build failed: see the errors above");
    }
    Ok(binaries)
}

/// Builds the binaries of these functions. Returns the binaries of the functions that compile, by name.
///
/// The command names no package, so that cargo chooses the same features as for the whole workspace and builds nothing
/// twice.
///
/// # Errors
/// When cargo cannot be run.
pub async fn build_functions(
    project: &Project,
    release: bool,
    functions: &[String],
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    check_compiler().await?;
    let mut arguments = vec!["--keep-going"];
    arguments.extend(functions.iter().flat_map(|function| ["--bin", function]));
    let (_, binaries) = cargo_build(project, release, &arguments).await?;
    Ok(binaries)
}

/// Runs `cargo build`. Returns whether it built everything, and the binaries that it built.
async fn cargo_build(
    project: &Project,
    release: bool,
    arguments: &[&str],
) -> anyhow::Result<(bool, BTreeMap<String, PathBuf>)> {
    let mut build = cargo();
    build
        .current_dir(project.root())
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .stdout(Stdio::piped());
    if release {
        build.arg("--release");
    }
    let mut build = Group::spawn(&mut build).context("cannot run cargo")?;
    let mut output = Vec::new();
    if let Some(stdout) = &mut build.child().stdout {
        stdout.read_to_end(&mut output).await.context("cannot read cargo's output")?;
    }
    let success = build.wait().await?.success();
    let mut binaries = BTreeMap::new();
    for message in Message::parse_stream(BufReader::new(output.as_slice())) {
        if let Ok(Message::CompilerArtifact(artifact)) = message
            && let Some(executable) = artifact.executable
        {
            binaries.insert(artifact.target.name.clone(), executable.into_std_path_buf());
        }
    }
    Ok((success, binaries))
}

/// Checks that there is a C compiler. Without one, cargo would print a hundred lines from a build script.
async fn check_compiler() -> anyhow::Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let name = compiler.to_string_lossy().into_owned();
    // `CC` may contain a wrapper and arguments.
    let program = name.split_whitespace().next().unwrap_or("cc").to_owned();
    let run = command(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if run.is_err() {
        bail!("the C compiler {name} is missing: install it (Debian, Ubuntu: apt-get install gcc)");
    }
    Ok(())
}

/// Asks a function's binary for its description.
///
/// # Errors
/// When the binary cannot be run or prints no description.
pub async fn describe(binary: &PathBuf) -> anyhow::Result<Description> {
    let output = command(binary)
        .arg("--describe")
        .output()
        .await
        .with_context(|| format!("cannot run {}", binary.display()))?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} --describe printed no valid description", binary.display()))
}
