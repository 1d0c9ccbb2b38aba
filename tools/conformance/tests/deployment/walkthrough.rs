//! Reads the shell commands of a documentation page and runs them.

use std::fs;

use template::project::Project;

use super::account::AwsAccount;

/// A documentation page.
pub(crate) struct Walkthrough {
    sections: Vec<Section>,
}

/// The commands below a second-level heading.
#[derive(Debug)]
pub(crate) struct Section {
    title: String,
    /// All `sh` blocks of the section, in order.
    commands: String,
}

impl Walkthrough {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(Project::here().root().join(path)).unwrap();
        let mut sections = Vec::new();
        let mut block = None;
        for line in text.lines() {
            match (block, line) {
                (None, _) if line.starts_with("## ") => {
                    let title = line["## ".len()..].to_owned();
                    sections.push(Section { title, commands: String::new() });
                }
                (None, _) if line.starts_with("```") => block = Some(line == "```sh"),
                (Some(_), "```") => block = None,
                (Some(true), _) => {
                    let commands = &mut sections.last_mut().unwrap().commands;
                    commands.push_str(line);
                    commands.push('\n');
                }
                _ => {}
            }
        }
        Self { sections }
    }

    pub(crate) fn section(&self, title: &str) -> &Section {
        self.sections.iter().find(|section| section.title == title).unwrap()
    }

    /// The titles of all sections that have commands.
    pub(crate) fn titles(&self) -> Vec<&str> {
        let with_commands = self.sections.iter().filter(|section| !section.commands.is_empty());
        with_commands.map(|section| section.title.as_str()).collect()
    }
}

impl Section {
    /// Runs the commands in the same shell as the previous sections, with `input` as standard input.
    pub(crate) fn run(&self, account: &AwsAccount, input: &str) {
        assert!(!self.commands.is_empty(), "{} has no commands", self.title);
        account.begin(&self.title);
        account.shell(&self.commands, input);
    }
}
