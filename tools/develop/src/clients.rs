//! `cargo xtask clients`: generates the clients from `openapi.yaml`, and checks, tests and packs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use template::process::{Group, command};
use template::project::Project;
use template::ui;
use tokio::process::Command;

use crate::tools::{ToolSet, Tools};

/// The generated file of the TypeScript client.
const SCHEMA: &str = "clients/typescript/src/schema.d.ts";

/// The generated folder of the Python client.
const GENERATED: &str = "clients/python/latchkey_client/generated";

/// Options of `cargo xtask clients`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ClientsOptions {
    /// Change nothing; check that the clients match openapi.yaml, test them, and build their packages
    #[arg(long)]
    check: bool,
}

/// The built packages of the clients.
#[derive(Debug)]
pub struct Packages {
    /// An npm package (`.tgz`).
    pub typescript: PathBuf,
    /// A Python wheel, from which Python can import.
    pub python: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the tools cannot be installed, or a step fails.
pub async fn run(project: &Project, options: ClientsOptions) -> anyhow::Result<()> {
    let tools = Tools::install(project, ToolSet::Clients).await?;
    if !options.check {
        return generate(project, &tools, project.root()).await;
    }
    let folder = project.tools().join("clients-check");
    empty(&folder)?;
    generate(project, &tools, &folder).await?;
    let differing = differing(project.root(), &folder)?;
    if !differing.is_empty() {
        bail!(
            "these files do not match openapi.yaml: run `cargo xtask clients`:\n{}",
            differing.join("\n")
        );
    }
    test(project, &tools).await?;
    pack(project, &tools, &folder.join("packages")).await?;
    ui::note("The clients match openapi.yaml, pass their tests and can be packed");
    Ok(())
}

/// Generates both clients below `root`.
async fn generate(project: &Project, tools: &Tools, root: &Path) -> anyhow::Result<()> {
    let document = project.root().join("openapi.yaml");
    let schema = root.join(SCHEMA);
    create_folder(schema.parent().unwrap_or(root))?;
    let mut typescript = library(tools, "openapi-typescript/bin/cli.js");
    typescript.arg(&document).arg("--output").arg(schema);
    execute(project, "openapi-typescript", &mut typescript).await?;
    // The generator formats its output with ruff, which it finds on the path.
    let generated = root.join(GENERATED);
    create_folder(generated.parent().unwrap_or(root))?;
    let mut python = command(tools.program("openapi-python-client"));
    python
        .args(["generate", "--meta", "none", "--overwrite", "--fail-on-warning", "--path"])
        .arg(document)
        .arg("--config")
        .arg(project.root().join("clients/python/openapi-python-client.yaml"))
        .arg("--output-path")
        .arg(generated)
        .env("ADAPT", project.root().join("clients/python/adapt.py"))
        .env("PATH", tools.path())
        .env("RUFF_NO_CACHE", "true");
    execute(project, "openapi-python-client", &mut python).await
}

/// The generated files that differ between two folders.
fn differing(expected: &Path, actual: &Path) -> anyhow::Result<Vec<String>> {
    let (expected, actual) = (generated(expected)?, generated(actual)?);
    let mut names: Vec<_> = expected.keys().chain(actual.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| expected.get(*name) != actual.get(*name));
    Ok(names.into_iter().map(|name| name.display().to_string()).collect())
}

/// The contents of the generated files below `root`.
fn generated(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.join(GENERATED)];
    let mut paths = vec![root.join(SCHEMA)];
    while let Some(folder) = folders.pop() {
        for path in paths_in(&folder)? {
            match path.is_dir() {
                // Python creates this folder when it imports from a module.
                true if path.ends_with("__pycache__") => {}
                true => folders.push(path),
                false => paths.push(path),
            }
        }
    }
    for path in paths {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), content);
    }
    Ok(files)
}

/// Runs the tests of both clients.
async fn test(project: &Project, tools: &Tools) -> anyhow::Result<()> {
    let typescript = project.root().join("clients/typescript");
    let mut compile = library(tools, "typescript/bin/tsc");
    compile.arg("--project").arg(&typescript);
    execute(project, "the TypeScript compiler", &mut compile).await?;
    let mut tests = command(tools.node());
    tests.arg("--test").arg(typescript.join("build/tests/session.test.js"));
    execute(project, "the tests of the TypeScript client", &mut tests).await?;
    let python = project.root().join("clients/python");
    let mut tests = command(tools.program("python"));
    tests
        .args(["-B", "-m", "unittest", "discover", "--start-directory"])
        .arg(python.join("tests"))
        .env("PYTHONPATH", python);
    execute(project, "the tests of the Python client", &mut tests).await
}

/// Builds the packages of both clients and writes them into a new folder.
///
/// # Errors
/// When a package cannot be built.
pub async fn pack(project: &Project, tools: &Tools, folder: &Path) -> anyhow::Result<Packages> {
    empty(folder)?;
    let mut npm = command(tools.npm());
    npm.args(["pack", "--silent", "--pack-destination"])
        .arg(folder)
        .current_dir(project.root().join("clients/typescript"))
        .env("PATH", tools.path())
        .stdout(std::process::Stdio::null());
    execute(project, "npm pack", &mut npm).await?;
    // The pinned build backend is installed already.
    let mut build = command(tools.program("python"));
    build
        .args(["-m", "build", "--no-isolation", "--outdir"])
        .arg(folder)
        .arg(project.root().join("clients/python"))
        .stdout(std::process::Stdio::null());
    execute(project, "python -m build", &mut build).await?;
    Ok(Packages { typescript: only(folder, "tgz")?, python: only(folder, "whl")? })
}

/// The only file in a folder with this extension.
fn only(folder: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let mut files = paths_in(folder)?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    match <[PathBuf; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => bail!(
            "expected one .{extension} file in {}, but there are {}",
            folder.display(),
            files.len()
        ),
    }
}

/// A program of a library from npm.
fn library(tools: &Tools, path: &str) -> Command {
    let mut node = command(tools.node());
    node.arg(tools.node_modules().join(path));
    node
}

async fn execute(project: &Project, name: &str, command: &mut Command) -> anyhow::Result<()> {
    if command.as_std().get_current_dir().is_none() {
        command.current_dir(project.root());
    }
    let mut group = Group::spawn(command).with_context(|| format!("cannot run {name}"))?;
    if !group.wait().await?.success() {
        bail!("{name} failed: see the error above");
    }
    Ok(())
}

/// Creates an empty folder, and deletes an existing one first.
fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    create_folder(folder)
}

/// Creates a folder and its parents, unless they exist.
fn create_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// The paths of the files and folders in a folder.
fn paths_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder);
    let paths = entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.with_context(|| format!("cannot read the folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with generated files.
    fn clients(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn every_changed_missing_or_additional_generated_file_is_named() {
        let name = |file: &str| format!("{GENERATED}/{file}");
        let (kept, changed) = (name("api/kept.py"), name("api/changed.py"));
        let (old, new) = (name("models/old.py"), name("new.py"));
        let cache = name("api/__pycache__/kept.pyc");
        let here =
            clients(&[(SCHEMA, "1"), (&kept, ""), (&changed, "1"), (&old, ""), (&cache, "")]);
        let fresh = clients(&[(SCHEMA, "2"), (&kept, ""), (&changed, "2"), (&new, "")]);
        let expected = [changed, old, new, SCHEMA.to_owned()];
        assert_eq!(differing(here.path(), fresh.path()).unwrap(), expected);
        assert!(differing(here.path(), here.path()).unwrap().is_empty());
    }

    #[test]
    fn a_package_is_found_only_if_it_is_the_only_one() {
        let folder = clients(&[("a.tgz", ""), ("a.whl", ""), ("b.whl", "")]);
        assert_eq!(only(folder.path(), "tgz").unwrap(), folder.path().join("a.tgz"));
        for (extension, count) in [("zip", 0), ("whl", 2)] {
            let error = only(folder.path(), extension).unwrap_err().to_string();
            assert!(error.ends_with(&format!("but there are {count}")), "{error}");
        }
    }
}
