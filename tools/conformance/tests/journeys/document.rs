//! `openapi.yaml`, and a strict check of answers: they have no member, status or content type that it does not document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};
use template::project::Project;

use super::client::Answer;

/// The headers that a route may send although the document does not list them: those that every answer has, and those
/// that the server adds. `cargo lambda watch` adds `lambda-runtime-aws-request-id`.
const GENERAL_HEADERS: [&str; 11] = [
    "apigw-requestid",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "lambda-runtime-aws-request-id",
    "transfer-encoding",
    "vary",
    "x-content-type-options",
    "x-request-id",
];

/// The answers of the API gateway itself. The dev server and API Gateway give the same ones.
const OF_GATEWAY: [(u16, &str); 9] = [
    (400, "Bad Request"),
    (404, "Not Found"),
    (413, "Request Entity Too Large"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (500, "Internal Server Error"),
    (502, "Internal Server Error"),
    (503, "Service Unavailable"),
    (504, "Endpoint request timed out"),
];

/// The document in this checkout.
pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let text = std::fs::read_to_string(Project::here().root().join("openapi.yaml")).unwrap();
    Document::new(serde_saphyr::from_str(&text).unwrap())
});

/// A description of an API.
pub(crate) struct Document(Value);

/// An operation of the document.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) value: &'a Value,
}

impl Operation<'_> {
    /// The method and the path, as in the template.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    /// Whether a request's method and path match.
    fn matches(&self, method: &Method, path: &str) -> bool {
        let (mut expected, mut segments) = (self.path.split('/'), path.split('/'));
        let is_parameter = |segment: &str| segment.starts_with('{');
        self.method.eq_ignore_ascii_case(method.as_str())
            && expected.clone().count() == segments.clone().count()
            && expected
                .all(|it| segments.next().is_some_and(|segment| is_parameter(it) || it == segment))
    }
}

/// The members that a schema declares.
#[derive(Default)]
pub(crate) struct Members<'a> {
    /// The schemas of each member. The schemas of several forms of an object can declare the same member.
    pub(crate) schemas: BTreeMap<&'a str, Vec<&'a Value>>,
    /// The members that every form requires.
    pub(crate) required: BTreeSet<&'a str>,
    /// Whether an object may have further members.
    is_open: bool,
}

impl Document {
    pub(crate) const fn new(root: Value) -> Self {
        Self(root)
    }

    pub(crate) fn root(&self) -> &Value {
        &self.0
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, value) in item.as_object().unwrap() {
                if !value["operationId"].is_null() {
                    operations.push(Operation { method, path, value });
                }
            }
        }
        operations
    }

    /// The operation that answers the request.
    pub(crate) fn operation(&self, method: &Method, path: &str) -> Option<Operation<'_>> {
        let mut operations = self.operations();
        operations.retain(|operation| operation.matches(method, path));
        // A path without parameters is more specific.
        operations.into_iter().min_by_key(|operation| operation.path.contains('{'))
    }

    /// Follows a reference.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.resolve(self.0.pointer(pointer).unwrap_or_else(|| panic!("no {reference}")))
            }
            None => value,
        }
    }

    /// The members that the objects of a schema can have.
    pub(crate) fn members<'a>(&'a self, schema: &'a Value) -> Members<'a> {
        let schema = self.resolve(schema);
        let mut members = Members::default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            members.schemas.entry(name).or_default().push(schema);
        }
        members.required.extend(strings(&schema["required"]));
        members.is_open |=
            !matches!(schema["additionalProperties"], Value::Null | Value::Bool(false));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = self.members(part);
            members.required.extend(&part.required);
            members.add(part);
        }
        for forms in ["oneOf", "anyOf"] {
            let forms = schema[forms].as_array().into_iter().flatten();
            let forms: Vec<_> = forms.map(|form| self.members(form)).collect();
            let common = forms.iter().map(|form| form.required.clone());
            let common = common.reduce(|common, required| &common & &required);
            members.required.extend(common.unwrap_or_default());
            for form in forms {
                members.add(form);
            }
        }
        members
    }

    /// The schemas of the elements of an array.
    fn elements<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        let forms =
            ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array());
        let forms = forms.flatten().flat_map(|form| self.elements(form));
        schema.get("items").into_iter().chain(forms).collect()
    }

    /// Adds the paths of the members of `value` that no schema declares.
    fn undeclared(&self, schemas: &[&Value], value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                let mut members = Members::default();
                for schema in schemas {
                    members.add(self.members(schema));
                }
                for (name, value) in object {
                    let path = format!("{path}.{name}");
                    match members.schemas.get(name.as_str()) {
                        Some(schemas) => self.undeclared(schemas, value, &path, found),
                        None if members.is_open => {}
                        None => found.push(path),
                    }
                }
            }
            Value::Array(elements) => {
                let schemas: Vec<_> =
                    schemas.iter().flat_map(|schema| self.elements(schema)).collect();
                for element in elements {
                    self.undeclared(&schemas, element, &format!("{path}[]"), found);
                }
            }
            _ => {}
        }
    }

    /// The reasons why `value` does not conform to `schema`. A member that the schema does not declare is one.
    pub(crate) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.undeclared(&[schema], value, "", &mut faults);
        for fault in &mut faults {
            *fault = format!("the document does not declare the member `{fault}`");
        }
        let validator = self.validator(schema);
        let errors = validator.iter_errors(value);
        faults.extend(errors.map(|error| format!("`{}`: {error}", error.instance_path())));
        faults
    }

    fn validator(&self, schema: &Value) -> Validator {
        // References start at the root of the document.
        let root = json!({"components": self.0["components"], "allOf": [schema]});
        jsonschema::options().should_validate_formats(true).build(&root).unwrap()
    }

    /// The documented answer with this status.
    fn response<'a>(&'a self, operation: Operation<'a>, status: u16) -> Option<&'a Value> {
        let response = operation.value["responses"].get(status.to_string());
        response.map(|response| self.resolve(response))
    }

    /// The differences between the headers of an answer and the documented headers.
    ///
    /// With `is_emulated`, only missing headers are faults, because an AWS emulator adds and replaces headers.
    pub(crate) fn header_faults(
        &self,
        operation: Operation<'_>,
        answer: &Answer,
        is_emulated: bool,
    ) -> Vec<String> {
        let response = self.response(operation, answer.status);
        let documented = response.and_then(|response| response["headers"].as_object());
        let mut faults = Vec::new();
        for (name, header) in documented.into_iter().flatten() {
            let Some(text) = answer.header(name) else {
                faults.push(format!("the header {name} is missing"));
                continue;
            };
            if is_emulated {
                continue;
            }
            let schema = &self.resolve(header)["schema"];
            let value = if schema["type"] == "integer" {
                serde_json::from_str(text).unwrap_or(Value::Null)
            } else {
                json!(text)
            };
            let validator = self.validator(schema);
            let errors = validator.iter_errors(&value);
            faults.extend(errors.map(|error| format!("the header {name}: {error}")));
        }
        for name in answer.headers.keys() {
            let is_documented = documented.is_some_and(|documented| {
                documented.keys().any(|it| it.eq_ignore_ascii_case(name.as_str()))
            });
            if !is_emulated && !is_documented && !GENERAL_HEADERS.contains(&name.as_str()) {
                faults.push(format!("the header {name} is not documented"));
            }
        }
        faults
    }

    /// Checks that an answer is as documented: its status, headers, content type and body.
    ///
    /// The gateway answers some requests itself. `info.description` documents these answers, and those to requests that
    /// bypass the edge.
    pub(crate) fn check(&self, method: &Method, path: &str, answer: &Answer, is_emulated: bool) {
        let Some(operation) = self.operation(method, path) else { return };
        let body = answer.json();
        // An answer to HEAD has no body, and therefore no code.
        let bypassed_edge = match body["code"].as_str() {
            Some(code) => code == "forbidden",
            None => answer.status == 403 && *method == Method::HEAD,
        };
        if is_of_gateway(answer.status, &body) || bypassed_edge {
            return;
        }
        let key = format!("{}: {}", operation.key(), answer.status);
        let response = self.response(operation, answer.status);
        let response =
            response.unwrap_or_else(|| panic!("{key} is not documented: {}", answer.text));
        let faults = self.header_faults(operation, answer, is_emulated);
        assert!(faults.is_empty(), "{key}: {faults:#?}");
        let Some(contents) = response["content"].as_object() else {
            assert_eq!(answer.text, "", "{key}: no body is documented");
            return;
        };
        let content_type = answer.header("content-type").unwrap_or_default();
        let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
        let content = contents.get(media_type);
        let content = content.unwrap_or_else(|| panic!("{key}: {content_type} is not documented"));
        if !media_type.ends_with("json") {
            return;
        }
        let faults = self.faults(&content["schema"], &body);
        assert!(faults.is_empty(), "{key}: {faults:#?} in {}", answer.text);
    }
}

impl Members<'_> {
    /// Adds members, but not whether they are required.
    fn add(&mut self, other: Self) {
        for (name, schemas) in other.schemas {
            self.schemas.entry(name).or_default().extend(schemas);
        }
        self.is_open |= other.is_open;
    }
}

/// Whether the API gateway itself gave this answer.
pub(crate) fn is_of_gateway(status: u16, body: &Value) -> bool {
    OF_GATEWAY.iter().any(|&(own, message)| own == status && *body == json!({"message": message}))
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
