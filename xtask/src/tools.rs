//! Tools from PyPI, pinned, in a virtual environment of the repository's own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};

use crate::process::{Group, command};
use crate::project::Project;
use crate::ui;

/// Which tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSet {
    /// What the dev server needs: `cargo-lambda`.
    Dev,
    /// What the tests need besides: the SAM command line, cfn-lint, a JWT library.
    Test,
}

impl ToolSet {
    fn requirements(self) -> &'static str {
        match self {
            Self::Dev => "requirements.txt",
            Self::Test => "requirements-test.txt",
        }
    }
}

/// Installed tools.
#[derive(Clone, Debug)]
pub struct Tools {
    bin: PathBuf,
}

impl Tools {
    /// Installs `set`, unless that has been done.
    ///
    /// # Errors
    /// When Python or its `venv` module is missing, or the packages cannot be had. In one line.
    pub async fn install(project: &Project, set: ToolSet) -> anyhow::Result<Self> {
        let venv = project.tools().join("venv");
        let requirements = project.root().join("xtask").join(set.requirements());
        let wanted = fs::read_to_string(&requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        fs::create_dir_all(project.tools()).context("cannot make the folder .tools")?;
        // Two commands at once must not both install. Released when the file is closed.
        let lock = File::create(project.tools().join("lock")).context("cannot write to .tools")?;
        lock.lock().context("cannot lock .tools")?;

        let python = venv.join("bin/python");
        if !runs(&python).await {
            drop(fs::remove_dir_all(&venv));
            make_venv(&venv).await?;
        }
        let stamp = venv.join(format!("{}.installed", set.requirements()));
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(Self { bin: venv.join("bin") });
        }
        ui::note(format_args!("Installing the tools of xtask/{} into .tools", set.requirements()));
        let mut pip = command(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-input", "--requirement"])
            .arg(&requirements);
        if !Group::spawn(&mut pip).context("cannot run pip")?.wait().await?.success() {
            bail!("pip could not install xtask/{}: its reason is above", set.requirements());
        }
        fs::write(&stamp, wanted).context("cannot write to .tools")?;
        Ok(Self { bin: venv.join("bin") })
    }

    /// The path of the tool `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The folder of the tools, for a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.bin
    }
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
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if said.contains("ensurepip") || said.contains("No module named venv") {
        bail!(
            "Python's venv module is missing: install it (Debian, Ubuntu: apt-get install \
             python3-venv)"
        );
    }
    let reason =
        said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    bail!("cannot make a virtual environment in .tools/venv: {reason}")
}
