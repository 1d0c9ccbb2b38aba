//! Documentation as a script: its blocks of shell commands.

use std::fs;

use template::project::Project;

use super::account::AwsAccount;

/// A page.
pub(crate) struct Walkthrough {
    sections: Vec<Section>,
}

/// What is between two headings of the second level.
#[derive(Debug)]
pub(crate) struct Section {
    title: String,
    /// Its blocks of `sh`, one after the other.
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

    /// The titles of those with commands.
    pub(crate) fn titles(&self) -> Vec<&str> {
        let with_commands = self.sections.iter().filter(|section| !section.commands.is_empty());
        with_commands.map(|section| section.title.as_str()).collect()
    }
}

impl Section {
    /// Runs its commands as somebody who types them, in the shell in which the sections before were typed,
    /// and types `input` when asked.
    pub(crate) fn run(&self, account: &AwsAccount, input: &str) {
        assert!(!self.commands.is_empty(), "{} has no commands", self.title);
        println!("=== {}", self.title);
        account.shell(&self.commands, input);
    }
}
