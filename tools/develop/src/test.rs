//! `cargo xtask test`: everything that must pass, with a summary.

use std::fs;
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

use crate::shipping;
use crate::snapshots;
use crate::tools::{ToolSet, Tools};

/// Options of the tests.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TestOptions {
    /// Omit the steps that need the network or take more than a minute
    #[arg(long)]
    pub fast: bool,
}

/// The part of test names by which `--fast` leaves tests out.
const SLOW: &str = "end_to_end";

/// The same, of the one that deploys.
const DEPLOYMENT: &str = "deployed_as_documented";

/// A step: its title, and how it is carried out.
struct Step {
    title: &'static str,
    work: Work,
}

enum Work {
    /// A command that passes by exiting with 0.
    Run(Command),
    /// The same, of tests: the summary repeats the names of those that fail.
    Tests(Command),
    /// That the functions that stand for all build as they are shipped, and are small enough.
    Shipping,
    /// That every snapshot is one that a test of an earlier step compared with.
    Snapshots(PathBuf),
    /// Left out, and why.
    Skip(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// With the names of the tests that failed, where the step runs tests.
    Failed(Vec<String>),
    Skipped(String),
}

impl Outcome {
    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed(Vec::new()) }
    }
}

/// Runs all steps, even if earlier ones fail. Returns whether all succeeded.
///
/// # Errors
/// When the steps cannot be prepared.
pub async fn run(project: &Project, options: TestOptions) -> anyhow::Result<bool> {
    let require_all = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    let mut results = Vec::new();
    for step in steps(project, options).await? {
        let start = Instant::now();
        ui::line(format_args!("\n=== {}", step.title));
        let outcome = match step.work {
            Work::Run(mut command) => execute(project, &mut command).await.map(Outcome::of),
            Work::Tests(mut command) => {
                execute_tests(project, &mut command, &mut std::io::stdout()).await
            }
            Work::Shipping => {
                shipping::sizes(project, &[&shipping::SAMPLES]).await.map(Outcome::of)
            }
            Work::Snapshots(used) => snapshots::unused(project.root(), &used).map(|unused| {
                for path in &unused {
                    ui::line(format_args!("no test uses {}", path.display()));
                }
                Outcome::of(unused.is_empty())
            }),
            Work::Skip(reason) => {
                ui::line(format_args!("skipped: {reason}"));
                results.push((step.title, Outcome::Skipped(reason), Duration::ZERO));
                continue;
            }
        };
        let outcome = outcome.unwrap_or_else(|error| {
            ui::line(format_args!("{error:#}"));
            Outcome::of(false)
        });
        results.push((step.title, outcome, start.elapsed()));
    }
    let summary = Summary::of(&results, require_all && !options.fast);
    ui::line("\n=== Summary");
    for line in summary.lines {
        ui::line(line);
    }
    Ok(summary.good)
}

/// Deploys to an emulator of AWS as the documentation says, and tests the deployment. Returns whether all
/// succeeded.
///
/// # Errors
/// When it cannot be started.
pub async fn deploy(project: &Project) -> anyhow::Result<bool> {
    for set in [ToolSet::Dev, ToolSet::Test] {
        Tools::install(project, set).await?;
    }
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "end_to_end", "--", DEPLOYMENT, "--nocapture"]);
    execute(project, &mut test).await
}

async fn execute(project: &Project, command: &mut Command) -> anyhow::Result<bool> {
    command.current_dir(project.root());
    let mut group = Group::spawn(command)
        .with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
    Ok(group.wait().await?.success())
}

/// Runs tests, copies what they print to `shown`, and collects the names of those that fail.
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
            // A reader that has gone away is no error.
            drop(shown.write_all(&line));
            failures.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let passed = group.wait().await?.success();
    Ok(if passed { Outcome::Passed } else { Outcome::Failed(failures.names) })
}

/// The names in the lists with which libtest ends.
#[derive(Debug, Default)]
struct Failures {
    names: Vec<String>,
    in_list: bool,
}

impl Failures {
    fn read(&mut self, line: &str) {
        let line = line.trim_end();
        // There are two lists: of what the tests printed, which begins with an empty line, and of names.
        match line.strip_prefix("    ") {
            Some(name) if self.in_list => self.names.push(name.to_owned()),
            _ => self.in_list = line == "failures:",
        }
    }
}

async fn steps(project: &Project, options: TestOptions) -> anyhow::Result<Vec<Step>> {
    // First, since tests use them too.
    let test = tools(project, options, ToolSet::Test).await;
    let checkov = tools(project, options, ToolSet::Checkov).await;
    let used = project.tools().join("snapshots-used");
    fs::create_dir_all(project.tools()).context("cannot create the folder .tools")?;
    fs::write(&used, "").context("cannot write to .tools")?;
    Ok(plan(options, &test, &checkov, used))
}

/// The tools of a set, or why there are none.
async fn tools(project: &Project, options: TestOptions, set: ToolSet) -> Result<Tools, String> {
    if options.fast {
        let installed = Tools::installed(project, set).await;
        installed.ok_or("not installed; skipped because of --fast".into())
    } else {
        Tools::install(project, set).await.map_err(|error| format!("{error:#}"))
    }
}

/// All steps. First those that take seconds, so that a fault that they find costs no half hour.
fn plan(
    options: TestOptions,
    test: &Result<Tools, String>,
    checkov: &Result<Tools, String>,
    used: PathBuf,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let scan = ["--file", "template.yaml", "edge.yaml", "--config-file", ".checkov.yaml"];
    let validate = ["validate", "--lint", "--region", "us-east-1"];
    let validate_edge = [&validate[..], &["--template", "edge.yaml"]].concat();
    for (title, tools, program, arguments) in [
        ("cfn-lint", test, "cfn-lint", &["-c", "I", "--", "template.yaml", "edge.yaml"][..]),
        ("sam validate --lint", test, "sam", &validate),
        ("sam validate --lint, edge.yaml", test, "sam", &validate_edge),
        ("checkov", checkov, "checkov", &scan),
    ] {
        let work = match tools {
            Ok(tools) => Work::Run(linter(tools.program(program), arguments)),
            Err(reason) => Work::Skip(reason.clone()),
        };
        steps.push(Step { title, work });
    }
    let run = |title, command| Step { title, work: Work::Tests(command) };
    // The whole workspace each time, so that features are unified once, and nothing is built twice.
    let tests = |arguments: &[&str]| {
        let mut tests = cargo();
        tests
            .args(["test", "--workspace", "--all-targets", "--no-fail-fast", "--"])
            .args(arguments)
            .env("INSTA_SNAPSHOT_REFERENCES_FILE", &used);
        tests
    };
    let mut documented = cargo();
    documented.args(["test", "--workspace", "--doc"]);
    steps.push(run("Tests", tests(&["--skip", SLOW, "--skip", DEPLOYMENT])));
    steps.push(run("Examples in the documentation", documented));
    if !options.fast {
        steps.push(run("Tests, end to end", tests(&[SLOW])));
        steps.push(run("Deployment", tests(&[DEPLOYMENT, "--nocapture"])));
        steps.push(Step { title: "Shipping profile", work: Work::Shipping });
        // It looks at what the tests have left.
        steps.push(Step { title: "Snapshots", work: Work::Snapshots(used) });
    }
    steps
}

fn linter(program: PathBuf, arguments: &[&str]) -> Command {
    let mut linter = command(program);
    linter.args(arguments).env("SAM_CLI_TELEMETRY", "0");
    linter
}

/// What is said at the end.
struct Summary {
    lines: Vec<String>,
    good: bool,
}

impl Summary {
    /// The last line has the form that CI reads: `N passed, N failed, N skipped`.
    fn of(results: &[(&str, Outcome, Duration)], require_all: bool) -> Self {
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
    async fn a_failed_command_gives_the_names_that_it_printed() {
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
        for fast in [false, true] {
            let steps = plan(TestOptions { fast }, &missing(), &missing(), PathBuf::new());
            let titles: Vec<_> = steps.iter().map(|step| step.title).collect();
            let (checks, tests) = titles.split_at(4);
            let expected =
                ["cfn-lint", "sam validate --lint", "sam validate --lint, edge.yaml", "checkov"];
            assert_eq!(checks, expected);
            assert_eq!(tests[0], "Tests");
            // It looks at what the tests have used.
            let last = if fast { "Examples in the documentation" } else { "Snapshots" };
            assert_eq!(tests.last(), Some(&last));
        }
    }

    #[test]
    fn ends_with_the_line_that_ci_reads() {
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
