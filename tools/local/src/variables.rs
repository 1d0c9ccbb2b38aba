//! Checks `--env` against the environment variables that functions read.
//!
//! There is no list of these variables: a function names a variable where it reads it. The names are therefore
//! collected from the source code and the template.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use auth::{MaxAge, TokenRules};
use process::{Env, Reader, Settings};
use template::Template;
use template::project::Project;

/// The folders of the packages that functions link.
const FOLDERS: [&str; 2] = ["functions", "shared"];

/// Why a variable that the user set is refused. The message is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableError {
    /// No function reads the variable.
    #[error("--env {name}: no function reads this variable{}", suggestion.as_ref().map_or(String::new(), |name| format!("; did you mean {name}?")))]
    Unknown { name: String, suggestion: Option<String> },
    /// The value of a variable is invalid.
    #[error("--env: {0}")]
    Invalid(process::ConfigErrors),
}

/// The names of all variables that functions read.
#[derive(Clone, Debug)]
pub(crate) struct Variables(BTreeSet<String>);

impl Variables {
    /// Collects the names from the sources of `project` and from its template.
    ///
    /// # Errors
    /// When the sources cannot be read.
    pub(crate) fn of(project: &Project, template: &Template) -> io::Result<Self> {
        let mut names = BTreeSet::new();
        for function in &template.functions {
            names.extend(function.environment.keys().cloned());
        }
        for folder in FOLDERS {
            for package in fs::read_dir(project.root().join(folder))? {
                let package = package?;
                let sources = package.path().join("src");
                if sources.is_dir() {
                    for source in rust_files(&sources)? {
                        names.extend(names_in(&fs::read_to_string(source)?));
                    }
                }
            }
        }
        Ok(Self(names))
    }

    /// Refuses a variable that no function reads.
    pub(crate) fn check(&self, set: &[(String, String)]) -> Result<(), VariableError> {
        match set.iter().find(|(name, _)| !self.0.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(VariableError::Unknown {
                name: name.clone(),
                suggestion: self.nearest(name).map(str::to_owned),
            }),
        }
    }

    /// The known name that is most similar to `name`, if it is similar enough to be the intended one.
    fn nearest(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_uppercase();
        let distance = |known: &String| strsim::damerau_levenshtein(&name, known);
        let nearest = self.0.iter().min_by_key(|known| distance(known))?;
        (distance(nearest) <= name.len() / 3).then_some(nearest)
    }
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The names of variables in a source: string literals of capital letters, digits and `_`. In a source that reads no
/// settings, a constant may still name a variable, so literals that contain `_` are collected there too. Collecting a
/// wrong name does less harm than refusing a variable that a function reads.
fn names_in(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let reads = ["Reader", "reader", ".read("].iter().any(|sign| code.contains(sign));
    let is_name = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && (reads || text.contains('_'))
    };
    code.split('"').filter(is_name).map(str::to_owned).collect()
}

/// Checks values with the parsers of the shared crates. Ignores errors in variables that the user did not set.
pub(crate) fn check_values(env: &Env, set: &[(String, String)]) -> Result<(), VariableError> {
    let Err(error) = env.read(|reader| read_all(reader).into_iter().collect::<Option<Vec<()>>>())
    else {
        return Ok(());
    };
    let message = error.to_string();
    if set.iter().any(|(name, _)| message.contains(name.as_str())) {
        Err(VariableError::Invalid(error))
    } else {
        Ok(())
    }
}

fn read_all(reader: &Reader<'_>) -> [Option<()>; 11] {
    [
        TokenRules::read(reader).map(drop),
        MaxAge::read(reader).map(drop),
        issuer::Config::read(reader).map(drop),
        keys::Config::read(reader).map(drop),
        passwords::Policy::read(reader).map(drop),
        rotation::Config::read(reader).map(drop),
        rotation::peppers_kept_for(reader).map(drop),
        store::Grace::read(reader).map(drop),
        store::Retention::read(reader).map(drop),
        store::SessionLimits::read(reader).map(drop),
        throttle::Config::read(reader).map(drop),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Variables {
        let project = Project::here();
        Variables::of(&project, &Template::read(&project.template()).unwrap()).unwrap()
    }

    fn set(name: &str) -> [(String, String); 1] {
        [(name.to_owned(), "x".to_owned())]
    }

    /// Skips names that the page abbreviates, such as `…_MAX_SECONDS`.
    #[test]
    fn every_documented_variable_is_known() {
        let page = Project::here().root().join("docs/configuration.md");
        let page = fs::read_to_string(page).unwrap();
        let (_, section) = page.split_once("## Variables of the functions").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let known = known();
        let mut documented = 0;
        for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (names, _) = row.split_once(" | ").unwrap();
            for name in names.split('`').filter(|name| {
                name.len() > 4
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit())
            }) {
                assert_eq!(known.check(&set(name)), Ok(()), "{name}");
                documented += 1;
            }
        }
        assert!(documented > 40, "{documented}");
    }

    #[test]
    fn names_are_collected_from_code_and_not_from_tests() {
        for (source, known) in [
            (r#"reader.required("WORD")"#, true),
            (r#"env.read(|r| r.maybe("WORD"))"#, true),
            (r#"const NAME: &str = "A_NAME";"#, true),
            ("#[cfg(test)]\nuse x;\nreader.required(\"WORD\")", true),
            (r#"const KIND: &str = "WORD";"#, false),
            (r#"reader.required("word")"#, false),
            ("reader\n#[cfg(test)]\nmod tests {\n\"WORD\"", false),
        ] {
            assert_eq!(!names_in(source).is_empty(), known, "{source}");
        }
    }

    #[test]
    fn a_misspelled_variable_is_refused_with_a_suggestion() {
        let known = known();
        for (name, suggestion) in [
            ("AUDIANCE", Some("AUDIENCE")),
            ("PASSWORD_MIN_CHAR", Some("PASSWORD_MIN_CHARS")),
            ("password_min_chars", Some("PASSWORD_MIN_CHARS")),
            ("THROTTLE_REGISTER", Some("THROTTLE_REGISTER_FREE")),
            ("ACCESS_TOKEN_SECS", Some("ACCESS_TOKEN_SECONDS")),
            ("COLOUR_OF_THE_SKY", None),
            // Only tests read this variable.
            ("SFTP_ENABLED", None),
        ] {
            let expected = VariableError::Unknown {
                name: name.to_owned(),
                suggestion: suggestion.map(str::to_owned),
            };
            assert_eq!(known.check(&set(name)), Err(expected));
        }
        let error = known.check(&set("AUDIANCE")).unwrap_err().to_string();
        assert_eq!(
            error,
            "--env AUDIANCE: no function reads this variable; did you mean AUDIENCE?"
        );
    }
}
