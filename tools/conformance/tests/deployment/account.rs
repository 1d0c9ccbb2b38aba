//! An emulated AWS account, and an operator's shell that is configured for it.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use develop::shipping::SHIPPED;
use develop::tools::{ToolSet, Tools};
use local::binaries;
use tempfile::TempDir;
use template::project::Project;
use testkit::Aws;

/// A replacement for `cargo-lambda`. It runs the real `cargo-lambda` only for the functions in `SHIPPED`. For every
/// other function, it writes a script that runs the debug binary that the tests have built. SAM compresses all bundles
/// at each deployment, which would take a second for each real binary.
const CARGO_LAMBDA: &str = r#"#!/bin/sh
set -eu
function=$(basename "$PWD")
case " $SHIPPED " in
    *" $function "*) exec "$CARGO_LAMBDA" "$@" ;;
esac
bundle="../../target/lambda/$function"
mkdir -p "$bundle"
printf '#!/bin/sh\nexec "%s"\n' "$BINARIES/$function" > "$bundle/bootstrap"
chmod 755 "$bundle/bootstrap"
"#;

/// An emulated AWS account and a shell that is configured for it.
pub(crate) struct AwsAccount {
    aws: Aws,
    home: TempDir,
    tools: Tools,
    binaries: PathBuf,
    opened: Instant,
}

impl AwsAccount {
    pub(crate) async fn open() -> Self {
        let opened = Instant::now();
        let project = Project::here();
        let tools = Tools::install(&project, ToolSet::Test).await.unwrap();
        Tools::install(&project, ToolSet::Dev).await.unwrap();
        let built = binaries::build(&project, false).await.unwrap();
        let binaries = built["login"].parent().unwrap().to_owned();
        let home = tempfile::tempdir().unwrap();
        let shim = home.path().join("bin/cargo-lambda");
        fs::create_dir(shim.parent().unwrap()).unwrap();
        fs::write(&shim, CARGO_LAMBDA).unwrap();
        fs::set_permissions(&shim, Permissions::from_mode(0o755)).unwrap();
        Self { aws: Aws::start().await, home, tools, binaries, opened }
    }

    pub(crate) fn url(&self) -> &str {
        self.aws.url()
    }

    pub(crate) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The file that keeps the shell's variables between two calls.
    fn variables(&self) -> PathBuf {
        self.home.path().join("variables.sh")
    }

    fn bash(&self, commands: &str) -> Command {
        let variables = self.variables();
        if !variables.exists() {
            File::create(&variables).unwrap();
        }
        // Only `sam` may find the replacement for cargo-lambda. The documented commands put the folder of the real
        // tools first in `PATH`, so `sam` runs with a `PATH` that begins with the replacement's folder.
        let script = format!(
            "set -euo pipefail\n. {0}\nPATH=\"{1}:$PATH\"\n\
             sam() {{ PATH=\"{2}:$PATH\" command sam \"$@\"; }}\n{commands}\nexport -p > {0}\n",
            variables.display(),
            self.tools.program("sam").parent().unwrap().display(),
            self.home.path().join("bin").display(),
        );
        let mut bash = template::process::command("bash").into_std();
        bash.args(["-c", &script]).current_dir(Project::here().root());
        // Ignore the AWS account and settings of the person who runs the test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                bash.env_remove(name);
            }
        }
        bash.env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_CONFIG_FILE", self.home.path().join("config"))
            .env("AWS_PAGER", "")
            .env("CURL_CA_BUNDLE", self.aws.certificate())
            .env("SAM_CLI_TELEMETRY", "0")
            // By default, SAM polls every five seconds, but the emulator deploys in less than one.
            .env("SAM_CLI_POLL_DELAY", "0.5")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_LAMBDA", self.tools.program("cargo-lambda"))
            .env("BINARIES", &self.binaries)
            .env("SHIPPED", SHIPPED.join(" "));
        bash
    }

    /// Runs commands with this standard input. They must succeed.
    pub(crate) fn shell(&self, commands: &str, input: &str) {
        let mut bash = self.bash(commands).stdin(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(bash.wait().unwrap().success(), "failed:\n{commands}");
    }

    /// Prints the title of a part of the test, and the time since the account was opened.
    pub(crate) fn begin(&self, title: &str) {
        println!("\n=== {:.1} s: {title}", self.opened.elapsed().as_secs_f64());
    }

    /// Deploys the shell's stack again with these parameters changed.
    pub(crate) fn deploy(&self, parameters: &str) {
        self.begin(parameters);
        let deploy = "sam deploy --stack-name $STACK --no-confirm-changeset";
        self.shell(&format!("{deploy} --parameter-overrides {parameters}"), "");
    }

    /// The standard output of a command, which must succeed.
    pub(crate) fn output(&self, command: &str) -> String {
        let output = self.bash(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "failed:\n{command}");
        String::from_utf8(output.stdout).unwrap()
    }
}
