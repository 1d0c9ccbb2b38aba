//! Tests that the commands on the pages about cost and scale print every figure on those pages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use template::project::Project;

/// The commands in the console blocks of a page: their arguments, and the output that the page shows.
fn commands(page: &str) -> Vec<(Vec<String>, String)> {
    let text = fs::read_to_string(Project::here().root().join("docs").join(page)).unwrap();
    let mut found = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let (block, _) = block.split_once("\n```").unwrap();
        for session in block.split("$ ").skip(1) {
            let (command, printed) = session.split_once('\n').unwrap();
            let arguments = command.strip_prefix("cargo xtask ").unwrap();
            let arguments = arguments.split_whitespace().map(str::to_owned).collect();
            found.push((arguments, printed.trim_end().to_owned()));
        }
    }
    found
}

/// The numbers in a page's prose, without commas.
fn numbers_in_prose(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Project::here().root().join("docs").join(page)).unwrap();
    let prose: String = text.split("```").step_by(2).collect();
    let words = prose.split(|c: char| c.is_whitespace() || "()[]`;:".contains(c));
    words
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).replace(',', ""))
        .filter(|word| word.parse::<f64>().is_ok())
        .collect()
}

fn assert_commands_print_every_figure(page: &str, min_commands: usize) {
    let commands = commands(page);
    assert!(commands.len() >= min_commands, "{page} has {} commands", commands.len());
    let figures: BTreeSet<_> =
        commands.iter().flat_map(|(_, printed)| printed.split_whitespace()).collect();
    for figure in numbers_in_prose(page) {
        assert!(figures.contains(figure.as_str()), "docs/{page}: no command prints {figure}");
    }
    for (arguments, printed) in commands {
        let output =
            Command::new(env!("CARGO_BIN_EXE_estimate")).args(&arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let actual = String::from_utf8(output.stdout).unwrap();
        assert_eq!(actual.trim_end(), printed, "docs/{page}: {arguments:?}");
    }
}

#[test]
fn commands_print_every_figure_of_the_cost_page() {
    assert_commands_print_every_figure("cost.md", 4);
}

#[test]
fn commands_print_every_figure_of_the_scale_page() {
    assert_commands_print_every_figure("scale.md", 1);
}
