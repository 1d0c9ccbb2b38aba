//! `cargo xtask roles`: writes the roles of `identity` into the files that repeat them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use identity::{Role, Roles};
use serde_json::Value;
use template::project::Project;
use template::ui;

/// The snapshot of each route's answer to every kind of caller.
pub(crate) const ACCESS_MATRIX: &str =
    "tools/conformance/tests/journeys/snapshots/access_matrix.snap";

/// Updates the files whose roles differ from those of `identity`.
///
/// # Errors
/// When a file cannot be written, or does not have the expected form. In the latter case, nothing is written.
pub fn run(project: &Project) -> anyhow::Result<()> {
    let outdated = outdated(project)?;
    for (file, text) in &outdated {
        fs::write(project.root().join(file), text)
            .with_context(|| format!("cannot write {file}"))?;
        ui::line(format_args!("changed {file}"));
    }
    if outdated.is_empty() {
        ui::line("template.yaml, openapi.yaml and the access matrix are up to date");
    }
    Ok(())
}

/// The files whose roles differ from those of `identity`, each with the text that it should have.
///
/// # Errors
/// When a file does not have the expected form.
pub fn outdated(project: &Project) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let names = Role::ALL.map(Role::as_str);
    let any = names.join("|");
    let mut outdated = BTreeMap::new();
    for (file, text) in [
        (
            "template.yaml",
            replace_line(
                project,
                "template.yaml",
                ("  AuthorizerRoles:", "    AllowedPattern: "),
                &format!("^(({any})(,({any}))*)?$"),
            )?,
        ),
        (
            "openapi.yaml",
            replace_line(
                project,
                "openapi.yaml",
                ("    Role:", "      enum: "),
                &format!("[{}]", names.join(", ")),
            )?,
        ),
        (ACCESS_MATRIX, access_matrix(&read(project, ACCESS_MATRIX)?)?),
    ] {
        if read(project, file)? != text {
            outdated.insert(file, text);
        }
    }
    Ok(outdated)
}

fn read(project: &Project, file: &str) -> anyhow::Result<String> {
    fs::read_to_string(project.root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// Finds the first line below `section` that begins with `start`, and returns the file's text with this line replaced
/// by `start` followed by `value`.
fn replace_line(
    project: &Project,
    file: &str,
    (section, start): (&str, &str),
    value: &str,
) -> anyhow::Result<String> {
    let text = read(project, file)?;
    let section_at = text.find(&format!("\n{section}\n"));
    let found = section_at.and_then(|at| Some(at + text[at..].find(&format!("\n{start}"))? + 1));
    let at = found.with_context(|| format!("{file}: no line `{start}` below `{section}`"))?;
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    Ok(format!("{}{start}{value}{}", &text[..at], &text[end..]))
}

/// Returns the access matrix with one column for each role. A new role's column contains the answer that the route's
/// access implies. A test compares it with the actual answer.
fn access_matrix(old: &str) -> anyhow::Result<String> {
    let refused = "403 insufficient_role";
    edit_matrix(old, |rows| {
        for row in rows.values_mut() {
            let text = row.as_str().context("a row is not text")?;
            let mut columns: BTreeMap<_, _> =
                text.split(" | ").filter_map(|column| column.split_once(": ")).collect();
            let anonymous = columns.remove("no token").context("a row without `no token`")?;
            let needs_a_role = columns.values().any(|answer| *answer == refused);
            let any = columns.values().next().copied().unwrap_or(anonymous);
            let implied = if needs_a_role { refused } else { any };
            let roles = Role::ALL
                .map(|role| format!("{role}: {}", columns.get(role.as_str()).unwrap_or(&implied)));
            *row = format!("no token: {anonymous} | {}", roles.join(" | ")).into();
        }
        Ok(())
    })
}

/// The snapshot after `edit` has changed its rows.
pub(crate) fn edit_matrix(
    old: &str,
    edit: impl FnOnce(&mut BTreeMap<String, Value>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let (head, body) = old.rsplit_once("---\n").context("the access matrix is not a snapshot")?;
    let mut rows = serde_json::from_str(body).context("the access matrix is not JSON")?;
    edit(&mut rows)?;
    Ok(format!("{head}---\n{}\n", serde_json::to_string_pretty(&rows)?))
}

/// Returns the row of a route that requires `role`, or that requires no role if `role` is `None`. `anonymous` is the
/// route's answer to a caller without a token, and `answer` is its answer to an admitted caller.
pub(crate) fn row(anonymous: &str, role: Option<Role>, answer: &str) -> String {
    let column = |caller: Role| {
        let admitted = role.is_none_or(|role| Roles::from_iter([caller]).contains(role));
        format!("{caller}: {}", if admitted { answer } else { "403 insufficient_role" })
    };
    format!("no token: {anonymous} | {}", Role::ALL.map(column).join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_role_gets_the_answers_that_the_access_of_each_route_implies() {
        let old = "head\n---\n{\"/a GET\": \"no token: 200 | user: 200\", \"/b GET\": \"no token: 401 missing_token | \
                   user: 200 | gone: 200\", \"/c GET\": \"no token: 401 missing_token | user: 403 insufficient_role | \
                   admin: 201\"}\n";
        let new = access_matrix(old).unwrap();
        for row in [
            "no token: 200 | user: 200 | admin: 200 | super_admin: 200",
            "no token: 401 missing_token | user: 200 | admin: 200 | super_admin: 200",
            "no token: 401 missing_token | user: 403 insufficient_role | admin: 201 | super_admin: 403 insufficient_role",
        ] {
            assert!(new.contains(row), "{row}: {new}");
        }
    }
}
