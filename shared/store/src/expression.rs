//! Expressions in DynamoDB requests. Conditions and changes are values. Only this module turns them into text,
//! with a placeholder for every name and value, because many names are reserved words.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

/// A condition on a stored item.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Compare(&'static str, &'static str, AttributeValue),
    Exists(&'static str),
    Absent(&'static str),
    Contains(&'static str, AttributeValue),
    SizeAbove(&'static str, AttributeValue),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

/// The condition that the item exists.
pub(crate) fn exists() -> Condition {
    Condition::Exists("pk")
}

/// The condition that the item does not exist.
pub(crate) fn absent() -> Condition {
    Condition::Absent("pk")
}

/// An attribute in a condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute(&'static str);

/// Begins a condition on the attribute `name`.
pub(crate) fn attribute(name: &'static str) -> Attribute {
    Attribute(name)
}

impl Attribute {
    pub(crate) fn is(self, value: impl Serialize) -> Condition {
        self.compare("=", value)
    }

    pub(crate) fn is_not(self, value: impl Serialize) -> Condition {
        self.compare("<>", value)
    }

    pub(crate) fn below(self, value: impl Serialize) -> Condition {
        self.compare("<", value)
    }

    pub(crate) fn at_most(self, value: impl Serialize) -> Condition {
        self.compare("<=", value)
    }

    pub(crate) fn above(self, value: impl Serialize) -> Condition {
        self.compare(">", value)
    }

    pub(crate) fn at_least(self, value: impl Serialize) -> Condition {
        self.compare(">=", value)
    }

    /// Whether a set of strings has this element.
    pub(crate) fn contains(self, element: &impl ToString) -> Condition {
        Condition::Contains(self.0, AttributeValue::S(element.to_string()))
    }

    /// Whether a set has more than this many elements.
    pub(crate) fn has_more_than(self, elements: u32) -> Condition {
        Condition::SizeAbove(self.0, attribute_value(elements))
    }

    pub(crate) fn is_absent(self) -> Condition {
        Condition::Absent(self.0)
    }

    fn compare(self, operator: &'static str, value: impl Serialize) -> Condition {
        Condition::Compare(self.0, operator, attribute_value(value))
    }
}

impl Condition {
    pub(crate) fn and(self, other: Self) -> Self {
        Self::And(self.into(), other.into())
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self::Or(self.into(), other.into())
    }

    fn write(self, placeholders: &mut Placeholders) -> String {
        // AND binds tighter than OR, and DynamoDB rejects redundant parentheses.
        let operand = |condition: Self, placeholders: &mut Placeholders| match condition {
            it @ Self::Or(..) => format!("({})", it.write(placeholders)),
            it => it.write(placeholders),
        };
        match self {
            Self::Compare(name, operator, value) => {
                format!("{} {operator} {}", placeholders.name(name), placeholders.value(value))
            }
            Self::Exists(name) => format!("attribute_exists({})", placeholders.name(name)),
            Self::Absent(name) => format!("attribute_not_exists({})", placeholders.name(name)),
            Self::Contains(name, element) => {
                format!("contains({}, {})", placeholders.name(name), placeholders.value(element))
            }
            Self::SizeAbove(name, size) => {
                format!("size({}) > {}", placeholders.name(name), placeholders.value(size))
            }
            Self::And(one, other) => {
                format!("{} AND {}", operand(*one, placeholders), operand(*other, placeholders))
            }
            Self::Or(one, other) => {
                format!("{} OR {}", one.write(placeholders), other.write(placeholders))
            }
        }
    }
}

/// A change to an attribute.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Set(&'static str, AttributeValue),
    /// Sets the attribute unless the item already has it.
    SetIfAbsent(&'static str, AttributeValue),
    /// Sets the first attribute to the value that the second had before the update.
    Copy(&'static str, &'static str),
    /// Adds to a number or to a set. An absent attribute counts as zero or as an empty set.
    Add(&'static str, AttributeValue),
    /// Removes elements from a set.
    Take(&'static str, AttributeValue),
    Remove(&'static str),
}

/// Converts a value to its stored form.
pub(crate) fn attribute_value(value: impl Serialize) -> AttributeValue {
    serde_dynamo::to_attribute_value(value)
        .expect("values are numbers, strings, booleans and lists")
}

/// The expressions of a request, with the names and values of their placeholders.
pub(crate) struct Expressions {
    pub(crate) condition: Option<String>,
    pub(crate) update: String,
    pub(crate) names: Option<HashMap<String, String>>,
    pub(crate) values: Option<HashMap<String, AttributeValue>>,
}

impl Expressions {
    pub(crate) fn new(condition: Option<Condition>, changes: Vec<Change>) -> Self {
        let mut placeholders = Placeholders::default();
        let condition = condition.map(|condition| condition.write(&mut placeholders));
        let update = write_changes(changes, &mut placeholders);
        let Placeholders { names, values } = placeholders;
        // DynamoDB rejects empty maps.
        let (names, values) = (
            Some(names).filter(|names| !names.is_empty()),
            Some(values).filter(|values| !values.is_empty()),
        );
        Self { condition, update, names, values }
    }
}

fn write_changes(changes: Vec<Change>, placeholders: &mut Placeholders) -> String {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    let (mut add, mut take) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Set(name, value) => {
                set.push(format!("{} = {}", placeholders.name(name), placeholders.value(value)));
            }
            Change::SetIfAbsent(name, value) => {
                let (name, value) = (placeholders.name(name), placeholders.value(value));
                set.push(format!("{name} = if_not_exists({name}, {value})"));
            }
            Change::Copy(name, from) => {
                set.push(format!("{} = {}", placeholders.name(name), placeholders.name(from)));
            }
            Change::Add(name, value) => {
                add.push(format!("{} {}", placeholders.name(name), placeholders.value(value)));
            }
            Change::Take(name, value) => {
                take.push(format!("{} {}", placeholders.name(name), placeholders.value(value)));
            }
            Change::Remove(name) => remove.push(placeholders.name(name)),
        }
    }
    let clauses = [("SET", set), ("REMOVE", remove), ("ADD", add), ("DELETE", take)];
    let clauses = clauses.into_iter().filter(|(_, changes)| !changes.is_empty());
    let clauses = clauses.map(|(clause, changes)| format!("{clause} {}", changes.join(", ")));
    clauses.collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Placeholders {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Placeholders {
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disjunction_in_a_conjunction_is_parenthesized() {
        let free = attribute("count").below(3).and(attribute("last").is_not("n"));
        let unused = attribute("returned").is_absent().or(attribute("returned").is_not("n"));
        for (condition, expected) in [
            (
                absent().or(free.clone()),
                "attribute_not_exists(#pk) OR #count < :v0 AND #last <> :v1",
            ),
            (
                free.and(unused),
                "#count < :v0 AND #last <> :v1 \
                 AND (attribute_not_exists(#returned) OR #returned <> :v2)",
            ),
        ] {
            let written = Expressions::new(Some(condition), Vec::new());
            assert_eq!(written.condition.as_deref(), Some(expected));
            assert_eq!(written.update, "");
        }
    }

    #[test]
    fn sets_are_tested_and_changed_by_element() {
        let is_not_last = attribute("ids").contains(&"a").and(attribute("ids").has_more_than(1));
        let element = || AttributeValue::Ss(vec!["a".to_owned()]);
        let changes = vec![Change::Take("ids", element()), Change::Add("others", element())];
        let written = Expressions::new(Some(is_not_last), changes);
        let condition = "contains(#ids, :v0) AND size(#ids) > :v1";
        assert_eq!(written.condition.as_deref(), Some(condition));
        assert_eq!(written.update, "ADD #others :v3 DELETE #ids :v2");
    }

    #[test]
    fn an_update_has_one_clause_of_each_kind_and_no_unused_placeholder() {
        let changes = vec![
            Change::Copy("rotated_before", "rotated_at"),
            Change::Remove("pending_email"),
            Change::Set("rotated_at", attribute_value(7)),
            Change::Add("tries", attribute_value(-1)),
            Change::SetIfAbsent("expires_at", attribute_value(9)),
        ];
        let written = Expressions::new(Some(attribute("rotated_at").at_most(5)), changes);
        assert_eq!(
            written.update,
            "SET #rotated_before = #rotated_at, #rotated_at = :v1, \
             #expires_at = if_not_exists(#expires_at, :v3) REMOVE #pending_email ADD #tries :v2"
        );
        let names = written.names.unwrap();
        assert_eq!(names.len(), 5);
        assert_eq!(names["#rotated_at"], "rotated_at");
        let values = written.values.unwrap();
        let expected = [("5", ":v0"), ("7", ":v1"), ("-1", ":v2"), ("9", ":v3")];
        assert_eq!(values.len(), expected.len());
        for (number, placeholder) in expected {
            assert_eq!(values[placeholder], AttributeValue::N(number.to_owned()));
        }
        let bare = Expressions::new(None, Vec::new());
        assert!(bare.names.is_none() && bare.values.is_none() && bare.condition.is_none());
    }
}
