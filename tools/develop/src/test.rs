//! `cargo xtask test`: everything that must pass, with a summary.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use template::process::{Group, cargo, command};
use template::project::Project;
use template::ui;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::tools::{ToolSet, Tools};
use crate::{shipping, snapshots};

/// Options of the tests.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TestOptions {
    /// Omit the steps that need the network or take more than a minute
    #[arg(long)]
    pub fast: bool,
}

/// Tests whose names contain this text form a separate step, which `--fast` omits.
const SLOW: &str = "end_to_end";

/// The name of the test that deploys.
const DEPLOYMENT: &str = "deployed_as_documented";

/// Tests whose names contain this text need Chromium, so they form a separate step.
const BROWSER: &str = "end_to_end::browser";

/// The programs that these tests run.
const BROWSER_PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

/// The log file of the deployment, in `.tools`.
const DEPLOYMENT_LOG: &str = "deployment.log";

/// A step of a run.
struct Step {
    title: &'static str,
    work: Work,
}

enum Work {
    /// Commands that run one after another, and pass by exiting with 0.
    Run(Vec<Command>),
    /// A command that runs tests. The summary repeats the names of the failed tests.
    Tests(Command),
    /// Checks that the tests of earlier steps have used every snapshot.
    Snapshots(PathBuf),
    /// A step that is left out, with the reason.
    Skip(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// Contains the names of the failed tests, if the step runs tests.
    Failed(Vec<String>),
    Skipped(String),
}

impl Outcome {
    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed(Vec::new()) }
    }
}

/// A step's title, outcome and duration.
type Finished = (&'static str, Outcome, Duration);

/// Runs all steps, even if earlier ones fail. Returns whether all succeeded.
///
/// # Errors
/// When the steps cannot be prepared.
pub async fn run(project: &Project, options: TestOptions) -> anyhow::Result<bool> {
    let require_all = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    let Plan { checks, tests, mut deployment, last } = plan_for(project, options).await?;
    let mut results = carry_out(project, checks, &mut std::io::stdout()).await;
    let path = project.tools().join(DEPLOYMENT_LOG);
    let mut log = File::create(&path).context("cannot write to .tools")?;
    for step in &mut deployment {
        let commands = match &mut step.work {
            Work::Run(commands) => commands.as_mut_slice(),
            Work::Tests(command) => std::slice::from_mut(command),
            Work::Snapshots(_) | Work::Skip(_) => &mut [],
        };
        for command in commands {
            let copy = || log.try_clone().context("cannot write to .tools");
            command.stdout(copy()?).stderr(copy()?);
        }
        ui::line(format_args!(
            "
=== {} runs concurrently: see {}",
            step.title,
            path.display()
        ));
    }
    // The deployment takes longest, but mostly uses only one processor, so run the tests concurrently.
    let (tested, deployed) = tokio::join!(
        async { carry_out(project, tests, &mut std::io::stdout()).await },
        carry_out(project, deployment, &mut log),
    );
    // A closed pipe is not an error.
    drop(std::io::copy(&mut File::open(&path)?, &mut std::io::stdout()));
    results.extend(tested.into_iter().chain(deployed));
    results.extend(carry_out(project, last, &mut std::io::stdout()).await);
    let summary = Summary::of(&results, require_all && !options.fast);
    ui::line("\n=== Summary");
    for line in summary.lines {
        ui::line(line);
    }
    Ok(summary.good)
}

/// Runs steps one after another. Writes the output of tests to `shown`.
async fn carry_out(project: &Project, steps: Vec<Step>, shown: &mut impl Write) -> Vec<Finished> {
    let mut results = Vec::new();
    for step in steps {
        let start = Instant::now();
        drop(writeln!(shown, "\n=== {}", step.title));
        let outcome = match step.work {
            Work::Run(commands) => execute_all(project, commands).await.map(Outcome::of),
            Work::Tests(mut command) => execute_tests(project, &mut command, shown).await,
            Work::Snapshots(used) => snapshots::unused(project.root(), &used).map(|unused| {
                for path in &unused {
                    drop(writeln!(shown, "no test uses {}", path.display()));
                }
                Outcome::of(unused.is_empty())
            }),
            Work::Skip(reason) => {
                drop(writeln!(shown, "skipped: {reason}"));
                Ok(Outcome::Skipped(reason))
            }
        };
        let outcome = outcome.unwrap_or_else(|error| {
            drop(writeln!(shown, "{error:#}"));
            Outcome::of(false)
        });
        results.push((step.title, outcome, start.elapsed()));
    }
    results
}

/// Builds the release binaries that the deployment test deploys. Returns whether all builds succeeded.
///
/// # Errors
/// When the tools cannot be installed or cargo cannot be started.
pub async fn release_build(project: &Project) -> anyhow::Result<bool> {
    Tools::install(project, ToolSet::Dev).await?;
    let tools = Tools::install(project, ToolSet::Test).await?;
    execute_all(project, shipping::builds(&tools)).await
}

/// Deploys to an AWS emulator as documented, and tests the deployment. Returns whether everything succeeded.
///
/// # Errors
/// When the tools cannot be installed or the test cannot be started.
pub async fn deploy(project: &Project) -> anyhow::Result<bool> {
    for set in [ToolSet::Dev, ToolSet::Test] {
        Tools::install(project, set).await?;
    }
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "end_to_end", "--", DEPLOYMENT, "--nocapture"]);
    execute(project, &mut test).await
}

/// Runs the tests in a browser, which write screenshots into `docs/images`. Returns whether all succeeded.
///
/// # Errors
/// When Chromium is missing, the tools cannot be installed or the tests cannot be started.
pub async fn screenshots(project: &Project) -> anyhow::Result<bool> {
    check_browser().await.map_err(anyhow::Error::msg)?;
    Tools::install(project, ToolSet::Test).await?;
    let images = project.root().join("docs/images");
    fs::create_dir_all(&images).context("cannot create the folder docs/images")?;
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--test", "end_to_end", "--", BROWSER])
        .env("SCREENSHOTS", images);
    execute(project, &mut tests).await
}

/// Checks that the programs for the tests in a browser are installed. Returns the reason if one is missing.
async fn check_browser() -> Result<(), String> {
    for program in BROWSER_PROGRAMS {
        let mut version = command(program);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        if !version.status().await.is_ok_and(|status| status.success()) {
            return Err(format!(
                "{program} is missing: install Chromium (Debian: apt-get install chromium chromium-driver)"
            ));
        }
    }
    Ok(())
}

/// Runs commands until one fails. Returns whether all succeeded.
async fn execute_all(project: &Project, commands: Vec<Command>) -> anyhow::Result<bool> {
    for mut command in commands {
        if !execute(project, &mut command).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn execute(project: &Project, command: &mut Command) -> anyhow::Result<bool> {
    command.current_dir(project.root());
    let mut group = Group::spawn(command)
        .with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
    Ok(group.wait().await?.success())
}

/// Runs tests, copies their output to `shown`, and collects the names of those that fail.
async fn execute_tests(
    project: &Project,
    command: &mut Command,
    shown: &mut impl Write,
) -> anyhow::Result<Outcome> {
    command.current_dir(project.root()).stdout(Stdio::piped());
    let mut group = Group::spawn(command)
        .with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
    let mut failures = Failures::default();
    if let Some(output) = group.child().stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).await.context("cannot read the tests' output")?
            > 0
        {
            // A closed pipe is not an error.
            drop(shown.write_all(&line));
            failures.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let passed = group.wait().await?.success();
    Ok(if passed { Outcome::Passed } else { Outcome::Failed(failures.names) })
}

/// The names in the lists at the end of libtest's output.
#[derive(Debug, Default)]
struct Failures {
    names: Vec<String>,
    in_list: bool,
}

impl Failures {
    fn read(&mut self, line: &str) {
        let line = line.trim_end();
        // There are two lists: the output of the tests, which begins with an empty line, and the names.
        match line.strip_prefix("    ") {
            Some(name) if self.in_list => self.names.push(name.to_owned()),
            _ => self.in_list = line == "failures:",
        }
    }
}

/// The steps of a run. Tests and deployment run concurrently.
struct Plan {
    /// Checks that take seconds. They come first, so that a mistake shows within seconds, not after half an hour.
    checks: Vec<Step>,
    tests: Vec<Step>,
    deployment: Vec<Step>,
    /// Steps that examine what the tests have left behind.
    last: Vec<Step>,
}

/// What the steps need. An error is the reason why it is missing.
struct Requirements {
    test: Result<Tools, String>,
    checkov: Result<Tools, String>,
    clients: Result<Tools, String>,
    browser: Result<(), String>,
}

async fn plan_for(project: &Project, options: TestOptions) -> anyhow::Result<Plan> {
    // Install the tools first, because the tests use them too.
    let dev = tools(project, options, ToolSet::Dev).await;
    // Tests also need `cargo-lambda`, which belongs to `ToolSet::Dev`.
    let test = dev.and(tools(project, options, ToolSet::Test).await);
    let requirements = Requirements {
        test,
        checkov: tools(project, options, ToolSet::Checkov).await,
        clients: tools(project, options, ToolSet::Clients).await,
        browser: check_browser().await,
    };
    let used = project.tools().join("snapshots-used");
    fs::create_dir_all(project.tools()).context("cannot create the folder .tools")?;
    fs::write(&used, "").context("cannot write to .tools")?;
    Ok(plan(options, requirements, used))
}

/// The tools of a set, or the reason why they are missing.
async fn tools(project: &Project, options: TestOptions, set: ToolSet) -> Result<Tools, String> {
    if options.fast {
        let installed = Tools::installed(project, set).await;
        installed.ok_or("not installed, and --fast installs nothing".into())
    } else {
        Tools::install(project, set).await.map_err(|error| format!("{error:#}"))
    }
}

fn plan(options: TestOptions, requirements: Requirements, used: PathBuf) -> Plan {
    let Requirements { test, checkov, clients, browser } = requirements;
    let scan = ["--file", "template.yaml", "edge.yaml", "--config-file", ".checkov.yaml"];
    let validate = ["validate", "--lint", "--region", "us-east-1"];
    let validate_edge = [&validate[..], &["--template", "edge.yaml"]].concat();
    let check = |title, tools: &Result<Tools, String>, program, arguments: &[&str]| {
        let work = match tools {
            Ok(tools) => Work::Run(vec![linter(tools.program(program), arguments)]),
            Err(reason) => Work::Skip(reason.clone()),
        };
        Step { title, work }
    };
    let checks = vec![
        check("cfn-lint", &test, "cfn-lint", &["-c", "I", "--", "template.yaml", "edge.yaml"]),
        check("sam validate --lint", &test, "sam", &validate),
        check("sam validate --lint, edge.yaml", &test, "sam", &validate_edge),
        check("checkov", &checkov, "checkov", &scan),
        Step {
            title: "Clients",
            work: clients
                .and_then(|_| this_program(&["clients", "--check"]))
                .map_or_else(Work::Skip, |command| Work::Run(vec![command])),
        },
    ];
    let run = |title, command| Step { title, work: Work::Tests(command) };
    // Always test the whole workspace, so that features are unified once and nothing is built twice. `--lib --test`
    // avoids linking a test program for each `main.rs`; a test checks that no `main.rs` has tests.
    let cargo_test = |arguments: &[&str]| {
        let mut tests = cargo();
        tests
            .args(["test", "--workspace", "--lib", "--test", "*", "--no-fail-fast", "--"])
            .args(arguments)
            .env("INSTA_SNAPSHOT_REFERENCES_FILE", &used);
        tests
    };
    let mut documented = cargo();
    documented.args(["test", "--workspace", "--doc"]);
    let mut plan = Plan {
        checks,
        tests: vec![
            run("Tests", cargo_test(&["--skip", SLOW, "--skip", DEPLOYMENT])),
            run("Examples in the documentation", documented),
        ],
        deployment: Vec::new(),
        last: Vec::new(),
    };
    if !options.fast {
        plan.tests.push(run("Tests, end to end", cargo_test(&[SLOW, "--skip", BROWSER])));
        plan.tests.push(match browser {
            Ok(()) => run("Tests, in a browser", cargo_test(&[BROWSER])),
            Err(reason) => Step { title: "Tests, in a browser", work: Work::Skip(reason) },
        });
        // The release build and the build of the tests use different folders, so neither waits for the other. Without
        // this step the deployment, which takes longest, would compile these functions after the tests have been built.
        let work = match test {
            Ok(tools) => Work::Run(shipping::builds(&tools)),
            Err(reason) => Work::Skip(reason),
        };
        plan.deployment.push(Step { title: "Release build", work });
        plan.deployment.push(run("Deployment", cargo_test(&[DEPLOYMENT, "--nocapture"])));
        plan.last.push(Step { title: "Snapshots", work: Work::Snapshots(used) });
    }
    plan
}

/// A command of this program.
fn this_program(arguments: &[&str]) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut program = command(program);
    program.args(arguments);
    Ok(program)
}

fn linter(program: PathBuf, arguments: &[&str]) -> Command {
    let mut linter = command(program);
    linter.args(arguments).env("SAM_CLI_TELEMETRY", "0");
    linter
}

/// The summary of a run.
struct Summary {
    lines: Vec<String>,
    good: bool,
}

impl Summary {
    /// The last line has the form that CI reads: `N passed, N failed, N skipped`.
    fn of(results: &[Finished], require_all: bool) -> Self {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        let mut names = Vec::new();
        let rows: Vec<_> = results
            .iter()
            .map(|(title, outcome, took)| {
                let word = match outcome {
                    Outcome::Passed => {
                        passed += 1;
                        "passed".to_owned()
                    }
                    Outcome::Failed(tests) => {
                        failed += 1;
                        names.extend(tests.iter().map(|name| format!("  {title}: {name}")));
                        "FAILED".to_owned()
                    }
                    Outcome::Skipped(reason) if require_all => {
                        failed += 1;
                        format!("FAILED: REQUIRE_ALL is set, and {reason}")
                    }
                    Outcome::Skipped(reason) => {
                        skipped += 1;
                        format!("skipped: {reason}")
                    }
                };
                [(*title).to_owned(), format!("{:.1} s", took.as_secs_f64()), word]
            })
            .collect();
        let mut lines = ui::columns(&rows);
        if !names.is_empty() {
            lines.push("tests that failed:".to_owned());
            lines.append(&mut names);
        }
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        lines.push(format!("{passed} passed, {failed} failed{skipped}"));
        Self { lines, good: failed == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(outcomes: Vec<Outcome>, require_all: bool) -> (String, bool) {
        let results: Vec<_> =
            outcomes.into_iter().map(|outcome| ("step", outcome, Duration::ZERO)).collect();
        let Summary { mut lines, good } = Summary::of(&results, require_all);
        (lines.pop().unwrap(), good)
    }

    #[test]
    fn the_summary_repeats_the_names_of_the_tests_that_failed() {
        let failed =
            vec!["session::a_login_expires".to_owned(), "src/lib.rs - f (line 3)".to_owned()];
        let results = [("Tests", Outcome::Failed(failed), Duration::ZERO)];
        let lines = Summary::of(&results, false).lines;
        assert_eq!(
            lines[1..],
            [
                "tests that failed:",
                "  Tests: session::a_login_expires",
                "  Tests: src/lib.rs - f (line 3)",
                "0 passed, 1 failed",
            ]
        );
    }

    #[test]
    fn failures_are_read_from_the_lists_of_every_program() {
        let mut failures = Failures::default();
        let output = "\
running 3 tests
test a ... FAILED
    failures: no list
test b ... ok

failures:

---- a stdout ----
    printed by the test
failures:

failures:
    a
    module::c

test result: FAILED. 1 passed; 2 failed

failures:

---- src/lib.rs - f (line 3) stdout ----

failures:
    src/lib.rs - f (line 3)

test result: FAILED. 0 passed; 1 failed
";
        output.lines().for_each(|line| failures.read(line));
        assert_eq!(failures.names, ["a", "module::c", "src/lib.rs - f (line 3)"]);
    }

    #[tokio::test]
    async fn a_failed_command_reports_the_test_names_that_it_printed() {
        let script = "echo 'failures:'; echo '    one'; echo; exit $0";
        for (status, expected) in
            [("0", Outcome::Passed), ("1", Outcome::Failed(vec!["one".to_owned()]))]
        {
            let mut tests = command("sh");
            tests.args(["-c", script, status]);
            let mut shown = Vec::new();
            let outcome = execute_tests(&Project::here(), &mut tests, &mut shown).await.unwrap();
            assert_eq!(outcome, expected);
            assert_eq!(shown, b"failures:\n    one\n\n");
        }
    }

    #[test]
    fn checks_that_take_seconds_come_before_tests_that_take_minutes() {
        let missing = || Err("no tool".to_owned());
        let titles = |steps: &[Step]| steps.iter().map(|step| step.title).collect::<Vec<_>>();
        for fast in [false, true] {
            let requirements = Requirements {
                test: missing(),
                checkov: missing(),
                clients: missing(),
                browser: Err("no browser".to_owned()),
            };
            let plan = plan(TestOptions { fast }, requirements, PathBuf::new());
            let checks = [
                "cfn-lint",
                "sam validate --lint",
                "sam validate --lint, edge.yaml",
                "checkov",
                "Clients",
            ];
            assert_eq!(titles(&plan.checks), checks);
            assert_eq!(plan.tests[0].title, "Tests");
            let last = plan.tests.last().unwrap();
            assert_eq!(matches!(last.work, Work::Skip(_)), !fast, "{}", last.title);
            let deployment = ["Release build", "Deployment"];
            assert_eq!(titles(&plan.deployment), if fast { &[][..] } else { &deployment });
            // This step examines which snapshots the tests have used.
            assert_eq!(titles(&plan.last), if fast { &[][..] } else { &["Snapshots"] });
        }
    }

    #[tokio::test]
    async fn a_failed_step_does_not_stop_later_steps() {
        let script = |title, script| {
            let mut tests = command("sh");
            tests.args(["-c", script]);
            Step { title, work: Work::Tests(tests) }
        };
        let steps = vec![
            script("first", "echo error; exit 1"),
            script("second", "echo fine"),
            Step { title: "third", work: Work::Skip("no tool".to_owned()) },
        ];
        let mut shown = Vec::new();
        let finished = carry_out(&Project::here(), steps, &mut shown).await;
        let outcomes: Vec<_> = finished.into_iter().map(|(_, outcome, _)| outcome).collect();
        let skipped = Outcome::Skipped("no tool".to_owned());
        assert_eq!(outcomes, [Outcome::of(false), Outcome::Passed, skipped]);
        let expected = "\n=== first\nerror\n\n=== second\nfine\n\n=== third\nskipped: no tool\n";
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
    }

    #[test]
    fn the_summary_ends_with_the_line_that_ci_reads() {
        let skipped = || Outcome::Skipped("no tool".to_owned());
        for (outcomes, require_all, line, good) in [
            (vec![Outcome::Passed, Outcome::Passed], true, "2 passed, 0 failed", true),
            (
                vec![Outcome::Passed, Outcome::Failed(Vec::new())],
                false,
                "1 passed, 1 failed",
                false,
            ),
            (vec![Outcome::Passed, skipped()], false, "1 passed, 0 failed, 1 skipped", true),
            (vec![Outcome::Passed, skipped()], true, "1 passed, 1 failed", false),
        ] {
            assert_eq!(summary(outcomes, require_all), (line.to_owned(), good));
        }
    }
}
