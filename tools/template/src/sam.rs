//! `template.yaml` as data: routes, functions with their environment, and tables.
//!
//! The template is the only source of these facts, so the tools agree with the deployment. This module reads only the
//! parts that the tools need; CloudFormation and the linters check the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Tagged;

/// The parts of the template that the tools use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The functions, sorted by name.
    pub functions: Vec<Function>,
    /// The tables, sorted by logical id.
    pub tables: Vec<Table>,
    /// The CORS configuration of the HTTP API.
    pub cors: CorsConfiguration,
    /// The number of metrics that the alarms watch.
    pub alarm_metrics: usize,
}

/// The `CorsConfiguration` of the HTTP API, except the origins, which are a parameter of the deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CorsConfiguration {
    /// The methods that pages may use.
    #[serde(rename = "AllowMethods")]
    pub methods: Vec<String>,
    /// The headers that pages may send.
    #[serde(rename = "AllowHeaders")]
    pub headers: Vec<String>,
    /// The headers that pages may read.
    #[serde(rename = "ExposeHeaders")]
    pub exposed: Vec<String>,
    /// How many seconds a browser may cache the response to a preflight request.
    pub max_age: Option<u32>,
    /// Whether pages may send cookies.
    #[serde(rename = "AllowCredentials")]
    pub credentials: bool,
}

/// A function with its routes and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name of the function's folder, package, binary and event file: the last part of `CodeUri`.
    pub name: String,
    /// The logical id of the resource.
    pub resource: String,
    /// The routes; empty for a function without HTTP.
    pub routes: Vec<Route>,
    /// The streams whose records invoke the function.
    pub streams: Vec<StreamSource>,
    /// The environment, including the variables of `Globals`.
    pub environment: BTreeMap<String, Setting>,
    /// The time limit of an invocation.
    pub timeout: Duration,
    /// The memory in MB, which also determines the share of a processor.
    pub memory_mb: u32,
}

/// A route of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method; `None` for `ANY`.
    pub method: Option<Method>,
    /// The path as the template writes it: `/admin/users/{id}`, `/files/{proxy+}`.
    pub path: String,
}

impl Route {
    /// The route key as events contain it: `GET /auth/me`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.method.as_ref().map_or("ANY", Method::as_str), self.path)
    }
}

/// A table's stream, whose records invoke a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSource {
    /// The logical id of the table.
    pub table: String,
    /// The patterns of the filter. The function gets records that match one of them; without a pattern, all records.
    pub filters: Vec<Value>,
    /// The maximum number of records in an invocation.
    pub batch_size: usize,
}

impl StreamSource {
    /// Whether the filter of this event source accepts a record.
    #[must_use]
    pub fn takes(&self, record: &Value) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|pattern| matches(pattern, record))
    }
}

/// Whether a value matches a pattern of an event filter. The members of an object must all match; of a list, one
/// alternative must match. Of the pattern language, only the part that the template uses is supported: values and
/// `{"prefix": …}`.
fn matches(pattern: &Value, value: &Value) -> bool {
    match pattern {
        Value::Object(members) => {
            members.iter().all(|(name, pattern)| matches(pattern, &value[name.as_str()]))
        }
        Value::Array(alternatives) => {
            alternatives.iter().any(|alternative| match alternative["prefix"].as_str() {
                Some(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
                None => alternative == value,
            })
        }
        _ => false,
    }
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A literal, or the default of the parameter that `!Ref` names.
    Text(String),
    /// The name of the table with this logical id.
    Table(String),
    /// A value that is known only after deployment.
    Deployed,
}

/// A table in the form that `CreateTable` and `UpdateTimeToLive` take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The logical id, which is the name of the local table.
    pub name: String,
    /// `KeySchema`, `AttributeDefinitions`, `BillingMode`, indexes and stream, unchanged.
    pub definition: Value,
    /// The attribute that contains an item's expiry time.
    pub ttl: Option<String>,
}

/// The reason why the template cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        reason: std::io::Error,
    },
    /// The file is not YAML or not a template. The message contains the position.
    #[error("not a valid template: {0}")]
    Syntax(String),
    /// A resource lacks a property, or has one in an unsupported form.
    #[error("{resource}: {problem}")]
    Resource {
        /// The logical id.
        resource: String,
        /// The property and its fault.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    #[serde(default)]
    globals: Globals,
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    default: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Globals {
    function: GlobalFunction,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GlobalFunction {
    environment: Environment,
    timeout: Option<Value>,
    memory_size: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Environment {
    variables: BTreeMap<String, Tagged<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    properties: Properties,
}

/// The properties of all supported types. A resource has only those of its own type.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Properties {
    code_uri: Option<Value>,
    environment: Environment,
    timeout: Option<Value>,
    memory_size: Option<u32>,
    metrics: Vec<Value>,
    cors_configuration: Option<Value>,
    events: BTreeMap<String, Event>,
    function_name: Option<Tagged<Value>>,
    event_source_arn: Option<Tagged<Value>>,
    batch_size: Option<usize>,
    filter_criteria: FilterCriteria,
    key_schema: Option<Value>,
    attribute_definitions: Option<Value>,
    billing_mode: Option<Value>,
    global_secondary_indexes: Option<Value>,
    local_secondary_indexes: Option<Value>,
    time_to_live_specification: Option<TimeToLive>,
    stream_specification: Option<StreamSpecification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSpecification {
    stream_view_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    r#type: String,
    #[serde(default)]
    properties: EventProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EventProperties {
    method: Option<String>,
    path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    pattern: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLive {
    attribute_name: String,
    enabled: bool,
}

impl Template {
    /// Reads the template in the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a template that can be served locally.
    pub fn read(path: &Path) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| TemplateError::Read { path: path.display().to_string(), reason })?;
        Self::parse(&text)
    }

    /// Parses the text of a template.
    ///
    /// # Errors
    /// When it is not a template that can be served locally.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            // Keep only the first line: the parser appends an excerpt of several lines.
            let message = error.to_string();
            TemplateError::Syntax(message.lines().next().unwrap_or_default().to_owned())
        })?;
        let mut functions = Vec::new();
        let mut tables = Vec::new();
        let mut cors = CorsConfiguration::default();
        let mut alarm_metrics = 0;
        for (id, resource) in &document.resources {
            match resource.r#type.as_str() {
                "AWS::Serverless::Function" => {
                    functions.push(document.function(id, &resource.properties)?);
                }
                "AWS::DynamoDB::Table" => tables.push(table(id, &resource.properties)?),
                "AWS::CloudWatch::Alarm" => alarm_metrics += watched(&resource.properties),
                "AWS::Serverless::HttpApi" => cors = cors_of(id, &resource.properties)?,
                _ => {}
            }
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { functions, tables, cors, alarm_metrics })
    }

    /// Finds a function by its name.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The local table whose name functions read from `variable`.
    #[must_use]
    pub fn table_of(&self, variable: &str) -> Option<&str> {
        self.functions.iter().find_map(|function| match function.environment.get(variable)? {
            Setting::Table(name) => Some(name.as_str()),
            Setting::Text(_) | Setting::Deployed => None,
        })
    }
}

/// Lambda's default for `Timeout`, in seconds.
const DEFAULT_TIMEOUT: u64 = 3;

/// Lambda's default for `MemorySize`, in MB.
const DEFAULT_MEMORY: u32 = 128;

/// The number of metrics that an alarm watches: one, or all metrics in its expression.
fn watched(alarm: &Properties) -> usize {
    let measured = alarm.metrics.iter().filter(|metric| metric.get("MetricStat").is_some());
    measured.count().max(1)
}

/// The CORS configuration. If it depends on a condition (`!If`), the branch that is not `AWS::NoValue`.
fn cors_of(id: &str, properties: &Properties) -> Result<CorsConfiguration, TemplateError> {
    let configured = match &properties.cors_configuration {
        None => return Ok(CorsConfiguration::default()),
        Some(Value::Array(branches)) => branches.iter().find(|branch| branch.is_object()),
        Some(configured) => Some(configured),
    };
    configured
        .and_then(|configured| serde_json::from_value(configured.clone()).ok())
        .ok_or_else(|| fault(id, "CorsConfiguration has an unsupported form"))
}

/// The logical id of the function `name`: `ProtectedRouteFunction` for `protected-route`.
#[must_use]
pub fn resource(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_uppercase() + rest
    });
    words.collect::<String>() + "Function"
}

impl Document {
    fn function(&self, id: &str, properties: &Properties) -> Result<Function, TemplateError> {
        let name = properties
            .code_uri
            .as_ref()
            .and_then(Value::as_str)
            .and_then(|uri| uri.trim_end_matches('/').rsplit('/').next())
            .filter(|name| !name.is_empty() && *name != ".")
            .ok_or_else(|| fault(id, "CodeUri is not the folder of a function"))?;
        let routes = properties
            .events
            .values()
            .filter(|event| event.r#type == "HttpApi")
            .map(|event| route(id, &event.properties))
            .collect::<Result<_, _>>()?;
        let streams = self
            .resources
            .iter()
            .filter(|(_, resource)| resource.r#type == "AWS::Lambda::EventSourceMapping")
            .filter(|(_, resource)| match &resource.properties.function_name {
                Some(Tagged(function, tag)) => function == id && tag.as_deref() == Some("!Ref"),
                None => false,
            })
            .map(|(mapping, resource)| stream(mapping, &resource.properties))
            .collect::<Result<_, _>>()?;
        let globals = &self.globals.function.environment.variables;
        let environment = globals
            .iter()
            .chain(&properties.environment.variables)
            .map(|(name, value)| (name.clone(), self.setting(value)))
            .collect();
        let (name, resource) = (name.to_owned(), id.to_owned());
        let timeout = properties.timeout.as_ref().or(self.globals.function.timeout.as_ref());
        let timeout = timeout.map_or(Some(DEFAULT_TIMEOUT), Value::as_u64);
        let timeout = timeout.ok_or_else(|| fault(id, "Timeout is not a number of seconds"))?;
        let timeout = Duration::from_secs(timeout);
        let memory = properties.memory_size.or(self.globals.function.memory_size);
        let memory_mb = memory.unwrap_or(DEFAULT_MEMORY);
        Ok(Function { name, resource, routes, streams, environment, timeout, memory_mb })
    }

    fn setting(&self, Tagged(value, tag): &Tagged<Value>) -> Setting {
        // Both spellings of a reference: `!Ref X` and `{Ref: X}`.
        let referred = match tag.as_deref() {
            Some("!Ref") => value.as_str(),
            Some(tag) if tag.starts_with('!') => return Setting::Deployed,
            _ => value.get("Ref").and_then(Value::as_str),
        };
        if let Some(id) = referred {
            return match (self.resources.get(id), self.parameters.get(id)) {
                (Some(resource), _) if resource.r#type == "AWS::DynamoDB::Table" => {
                    Setting::Table(id.to_owned())
                }
                (None, Some(Parameter { default: Some(default) })) => {
                    scalar(default).map_or(Setting::Deployed, Setting::Text)
                }
                _ => Setting::Deployed,
            };
        }
        scalar(value).map_or(Setting::Deployed, Setting::Text)
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn route(id: &str, properties: &EventProperties) -> Result<Route, TemplateError> {
    let (Some(method), Some(path)) = (&properties.method, &properties.path) else {
        return Err(fault(id, "an HttpApi event lacks Method or Path"));
    };
    let method = match method.to_ascii_uppercase().as_str() {
        "ANY" | "X-AMAZON-APIGATEWAY-ANY-METHOD" => None,
        method => Some(method.parse().map_err(|_| fault(id, "Method is not an HTTP method"))?),
    };
    if !path.starts_with('/') {
        return Err(fault(id, "Path does not begin with /"));
    }
    Ok(Route { method, path: path.clone() })
}

/// Lambda's default for `BatchSize`.
const BATCH_SIZE: usize = 100;

fn stream(id: &str, properties: &Properties) -> Result<StreamSource, TemplateError> {
    let table = match &properties.event_source_arn {
        Some(Tagged(Value::String(attribute), Some(tag))) if tag == "!GetAtt" => {
            attribute.strip_suffix(".StreamArn")
        }
        _ => None,
    };
    let table =
        table.ok_or_else(|| fault(id, "EventSourceArn is not !GetAtt of a table's StreamArn"))?;
    let filters = properties.filter_criteria.filters.iter().map(|filter| {
        serde_json::from_str(&filter.pattern).map_err(|_| fault(id, "a Pattern is not JSON"))
    });
    Ok(StreamSource {
        table: table.to_owned(),
        filters: filters.collect::<Result<_, _>>()?,
        batch_size: properties.batch_size.unwrap_or(BATCH_SIZE),
    })
}

fn table(id: &str, properties: &Properties) -> Result<Table, TemplateError> {
    let mut definition = serde_json::Map::new();
    for (name, value, needed) in [
        ("KeySchema", &properties.key_schema, true),
        ("AttributeDefinitions", &properties.attribute_definitions, true),
        ("BillingMode", &properties.billing_mode, false),
        ("GlobalSecondaryIndexes", &properties.global_secondary_indexes, false),
        ("LocalSecondaryIndexes", &properties.local_secondary_indexes, false),
    ] {
        match value {
            Some(value) => drop(definition.insert(name.to_owned(), value.clone())),
            None if needed => return Err(fault(id, &format!("{name} is missing"))),
            None => {}
        }
    }
    if let Some(stream) = &properties.stream_specification {
        let view = stream.stream_view_type.as_str();
        let stream = serde_json::json!({"StreamEnabled": true, "StreamViewType": view});
        definition.insert("StreamSpecification".to_owned(), stream);
    }
    let ttl = properties
        .time_to_live_specification
        .as_ref()
        .filter(|ttl| ttl.enabled)
        .map(|ttl| ttl.attribute_name.clone());
    Ok(Table { name: id.to_owned(), definition: Value::Object(definition), ttl })
}

fn fault(resource: &str, problem: &str) -> TemplateError {
    TemplateError::Resource { resource: resource.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: &str = r#"
Parameters:
  Issuer: { Type: String, Default: '' }
  Seconds: { Type: Number, Default: 900 }
  NoDefault: { Type: String }
Globals:
  Function: { Environment: { Variables: { LOG_LEVEL: info, SECONDS: 1 } } }
Resources:
  Api: { Type: AWS::Serverless::HttpApi }
  AdminUserFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/admin-user/
      Environment:
        Variables:
          USERS_TABLE: !Ref Users
          LONG: { Ref: Users }
          ISSUER: !Ref Issuer
          SECONDS: !Ref Seconds
          UNKNOWN: !Ref NoDefault
          URL: !GetAtt Api.ApiEndpoint
          SUB: !Sub 'x${Api}'
      Events:
        Read: { Type: HttpApi, Properties: { Method: get, Path: '/admin/users/{id}' } }
        Rest: { Type: HttpApi, Properties: { Method: ANY, Path: '/files/{proxy+}' } }
        Tick: { Type: Schedule, Properties: { Schedule: rate(1 day) } }
  Changes:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref AdminUserFunction
      EventSourceArn: !GetAtt Users.StreamArn
      BatchSize: 10
      FilterCriteria: { Filters: [{ Pattern: '{"eventName":["INSERT"]}' }] }
  Users:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      KeySchema: [{ AttributeName: pk, KeyType: HASH }]
      AttributeDefinitions: [{ AttributeName: pk, AttributeType: S }]
      TimeToLiveSpecification: { AttributeName: expires_at, Enabled: true }
      StreamSpecification: { StreamViewType: KEYS_ONLY }
      SSESpecification: { SSEEnabled: true }
"#;

    #[test]
    fn reads_functions() {
        let template = Template::parse(SMALL).unwrap();
        let function = template.function("admin-user").unwrap();
        assert_eq!(function.resource, "AdminUserFunction");
        let keys: Vec<_> = function.routes.iter().map(Route::key).collect();
        assert_eq!(keys, ["GET /admin/users/{id}", "ANY /files/{proxy+}"]);
        let stream = StreamSource {
            table: "Users".to_owned(),
            filters: vec![json!({"eventName": ["INSERT"]})],
            batch_size: 10,
        };
        assert_eq!(function.streams, [stream]);
        assert_eq!(template.functions.len(), 1);
        assert_eq!(template.table_of("USERS_TABLE"), Some("Users"));
        assert_eq!(template.table_of("ISSUER"), None);
    }

    #[test]
    fn resolves_the_environment() {
        let template = Template::parse(SMALL).unwrap();
        let environment = &template.function("admin-user").unwrap().environment;
        let text = |text: &str| Setting::Text(text.to_owned());
        for (name, expected) in [
            ("LOG_LEVEL", text("info")),
            ("USERS_TABLE", Setting::Table("Users".to_owned())),
            ("LONG", Setting::Table("Users".to_owned())),
            ("ISSUER", text("")),
            ("SECONDS", text("900")),
            ("UNKNOWN", Setting::Deployed),
            ("URL", Setting::Deployed),
            ("SUB", Setting::Deployed),
        ] {
            assert_eq!(environment.get(name), Some(&expected), "{name}");
        }
    }

    #[test]
    fn reads_tables() {
        let template = Template::parse(SMALL).unwrap();
        let [table] = template.tables.as_slice() else { panic!("one table") };
        assert_eq!(table.name, "Users");
        assert_eq!(table.ttl.as_deref(), Some("expires_at"));
        assert_eq!(
            table.definition,
            json!({
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"},
            })
        );
    }

    #[test]
    fn an_invalid_template_is_reported_in_one_line() {
        for (from, to, expected) in [
            ("functions/admin-user/", ".", "AdminUserFunction: CodeUri is not"),
            ("Method: get, ", "", "AdminUserFunction: an HttpApi event lacks Method or Path"),
            ("Method: get", "Method: 'G T'", "AdminUserFunction: Method is not an HTTP method"),
            ("'/admin/users/{id}'", "admin", "AdminUserFunction: Path does not begin with /"),
            ("KeySchema:", "Keys:", "Users: KeySchema is missing"),
            ("!GetAtt Users.StreamArn", "x", "Changes: EventSourceArn is not !GetAtt of"),
            ("'{\"eventName\"", "'{", "Changes: a Pattern is not JSON"),
            ("Resources:", "Resources: [", "not a valid template: "),
        ] {
            let error = Template::parse(&SMALL.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_project_template_is_read() {
        let path = crate::project::Project::here().template();
        let template = Template::read(&path).unwrap();
        assert_eq!(template.table_of("USERS_TABLE"), Some("UsersTable"));
        assert_eq!(template.table_of("KEYS_TABLE"), Some("KeysTable"));
        assert!(template.function("login").is_some());
        let mut without = template.functions.iter().filter(|function| function.routes.is_empty());
        assert!(without.all(|function| {
            ["authorizer", "event-publisher", "mailer", "rotate-keys"].contains(&&*function.name)
        }));
    }
}
