//! Checks least privilege: compares the grants of a template's functions with the calls that the functions make.
//!
//! SAM's own translator creates the roles, including managed policies, and an independent IAM evaluator decides
//! requests with these roles. This module also finds superfluous grants, which no evaluator reports: a grant is needed
//! only if a call is refused without it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use develop::tools::Tools;

/// Translates a template into the policies of its functions.
const ROLES: &str = include_str!("privilege/roles.py");

/// Decides whether policies allow requests.
const DECIDE: &str = include_str!("privilege/decide.mjs");

/// The functions of a template with their policies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Roles {
    functions: BTreeMap<String, Attached>,
    /// The ARNs of resources, by logical id or by `Resource.Attribute`.
    arns: BTreeMap<String, String>,
}

/// The policies of a function's role.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Attached {
    policies: Vec<Value>,
    /// The ARNs of policies that the template does not define, such as AWS managed policies.
    foreign: Vec<String>,
}

/// A question to IAM: may this function perform this action on this resource?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authorization {
    /// The logical id of the function.
    pub function: String,
    /// The action.
    pub action: String,
    /// The logical id of the resource, or an ARN.
    pub resource: String,
    /// The values of condition keys.
    pub context: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The answer to an [`Authorization`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The policies allow the call.
    Allowed,
    /// The policies refuse the call.
    Denied,
    /// AWS has no such action, or the action does not support this resource or condition key.
    Invalid(String),
}

/// The smallest part of a policy: one action on one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The logical id of the function.
    pub function: String,
    /// The action, such as `dynamodb:GetItem`.
    pub action: String,
    /// The ARN of the resource.
    pub resource: String,
    condition: Conditions,
}

/// The allowed values of condition keys, by operator and key.
type Conditions = BTreeMap<String, BTreeMap<String, OneOrMany>>;

/// A policy or a call that this module does not support.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Policy {
    #[serde(rename = "Version")]
    _version: String,
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    effect: String,
    action: OneOrMany,
    resource: OneOrMany,
    #[serde(default)]
    condition: Conditions,
}

/// A list, or the single item that IAM accepts in place of a list.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn items(&self) -> &[String] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}

/// A question in the form that the evaluator expects.
#[derive(Serialize)]
struct Question<'a> {
    policies: Vec<&'a Value>,
    action: &'a str,
    resource: &'a str,
    context: BTreeMap<&'a str, Vec<String>>,
}

impl Roles {
    /// The roles that `CloudFormation` would create from `template` with these parameters.
    ///
    /// # Errors
    /// When SAM refuses the template, or a part of a role is not supported.
    pub fn of(tools: &Tools, template: &Path, parameters: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut python = Command::new(tools.program("python"));
        python.args(["-c", ROLES]).arg(template);
        let parameters: BTreeMap<_, _> = parameters.iter().copied().collect();
        let output = run(&mut python, &json!(parameters)).context("the roles of the template")?;
        serde_json::from_str(&output).context("the roles of the template")
    }

    /// The logical ids of the functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// The policies that the template does not define, each with its function. Their grants are unknown.
    pub fn foreign(&self) -> impl Iterator<Item = (&str, &str)> {
        self.functions.iter().flat_map(|(function, attached)| {
            attached.foreign.iter().map(move |arn| (function.as_str(), arn.as_str()))
        })
    }

    /// All grants.
    ///
    /// # Errors
    /// When a policy contains anything other than grants of named actions.
    pub fn grants(&self) -> Result<Vec<Grant>, Unsupported> {
        let mut grants = Vec::new();
        for (function, attached) in &self.functions {
            for policy in &attached.policies {
                grants.extend(grants_of(function, policy)?);
            }
        }
        Ok(grants)
    }

    /// The decisions on `calls`, in the same order.
    ///
    /// # Errors
    /// When the evaluator cannot be run.
    pub fn decide(&self, tools: &Tools, calls: &[Authorization]) -> anyhow::Result<Vec<Decision>> {
        let questions = calls.iter().map(|call| {
            let attached = self.functions.get(&call.function);
            let policies = attached.map(|attached| attached.policies.iter().collect());
            self.question(call, policies.unwrap_or_default())
        });
        decide(tools, &questions.collect::<Vec<_>>())
    }

    /// The grants without effect: AWS has no such action on such a resource.
    ///
    /// # Errors
    /// When a policy is not supported, or the evaluator cannot be run.
    pub fn ineffective(&self, tools: &Tools) -> anyhow::Result<Vec<String>> {
        let grants = self.grants()?;
        let policies: Vec<_> = grants.iter().map(|grant| policy([grant])).collect();
        let questions = grants.iter().zip(&policies).map(|(grant, policy)| {
            let keys = grant.condition.values().flatten();
            let context = keys.map(|(key, values)| {
                let values = values.items().iter().map(|value| value.replace('*', "x"));
                (key.as_str(), values.collect())
            });
            Question {
                policies: vec![policy],
                action: &grant.action,
                resource: &grant.resource,
                context: context.collect(),
            }
        });
        let decisions = decide(tools, &questions.collect::<Vec<_>>())?;
        let ineffective = grants.iter().zip(decisions).filter(|(_, it)| *it != Decision::Allowed);
        Ok(ineffective
            .map(|(grant, decision)| format!("{grant} allows nothing: {decision:?}"))
            .collect())
    }

    /// The faults of the grants, given all calls that the functions made: calls that are refused, grants that no call
    /// needs, and condition values that no call needs. Each line names the function and the action.
    ///
    /// # Errors
    /// When a policy is not supported, or the evaluator cannot be run.
    pub fn faults(
        &self,
        tools: &Tools,
        calls: &BTreeSet<Authorization>,
    ) -> anyhow::Result<Vec<String>> {
        let calls: Vec<_> = calls.iter().cloned().collect();
        let mut faults = Vec::new();
        for (call, decision) in calls.iter().zip(self.decide(tools, &calls)?) {
            let Authorization { function, action, resource, context } = call;
            match decision {
                Decision::Allowed => {}
                Decision::Denied => {
                    faults.push(format!(
                        "{function} is not granted {action} on {resource} {context:?}"
                    ));
                }
                Decision::Invalid(reason) => {
                    faults.push(format!(
                        "{function} calls {action} on {resource}, which IAM cannot decide: {reason}"
                    ));
                }
            }
        }
        let grants = self.grants()?;
        let reduced: Vec<_> =
            grants.iter().flat_map(|grant| self.without(&grants, grant)).collect();
        let mut questions = Vec::new();
        for reduced in &reduced {
            for call in reduced.relevant(&calls) {
                questions.push(self.question(call, vec![&reduced.policy]));
            }
        }
        let decisions = decide(tools, &questions)?;
        let mut rest = decisions.as_slice();
        for reduced in &reduced {
            let (decided, next) = rest.split_at(reduced.relevant(&calls).count());
            rest = next;
            if decided.iter().all(|decision| *decision == Decision::Allowed) {
                faults.push(reduced.fault.clone());
            }
        }
        Ok(faults)
    }

    fn question<'a>(&'a self, call: &'a Authorization, policies: Vec<&'a Value>) -> Question<'a> {
        let resource = self.arns.get(&call.resource).unwrap_or(&call.resource);
        let context = call.context.iter();
        let context = context.map(|(key, values)| (*key, values.iter().cloned().collect()));
        Question { policies, action: &call.action, resource, context: context.collect() }
    }

    /// The policy of the grant's function, once without the grant, and once without each value of a condition that has
    /// several values.
    fn without(&self, grants: &[Grant], grant: &Grant) -> Vec<Reduced> {
        let Grant { function, action, condition, .. } = grant;
        if BY_LAMBDA.contains(&action.as_str()) {
            return Vec::new();
        }
        let resource = self.name_of(&grant.resource);
        let others =
            || grants.iter().filter(|other| other.function == *function && *other != grant);
        let reduced = |policy, fault| Reduced {
            function: function.clone(),
            action: action.clone(),
            policy,
            fault,
        };
        let mut all = vec![reduced(
            policy(others()),
            format!("{function} never uses {action} on {resource}"),
        )];
        for (operator, keys) in condition {
            for (key, values) in keys {
                let values = values.items();
                for value in values.iter().filter(|_| values.len() > 1) {
                    let rest = values.iter().filter(|other| *other != value).cloned().collect();
                    let mut narrowed = grant.clone();
                    let keys = narrowed.condition.entry(operator.clone()).or_default();
                    keys.insert(key.clone(), OneOrMany::Many(rest));
                    all.push(reduced(
                        policy(&others().cloned().chain([narrowed]).collect::<Vec<_>>()),
                        format!("{function} never uses {action} on {resource} with {key} {value}"),
                    ));
                }
            }
        }
        all
    }

    /// The logical id of the resource with this ARN.
    fn name_of<'a>(&'a self, arn: &'a str) -> &'a str {
        self.arns.iter().find(|(_, it)| *it == arn).map_or(arn, |(name, _)| name)
    }
}

/// A function's policy from which one part has been removed.
struct Reduced {
    function: String,
    action: String,
    policy: Value,
    /// The message to report if no call needs the removed part.
    fault: String,
}

impl Reduced {
    /// The calls of the function that perform the action, and may therefore need the removed part.
    fn relevant<'a>(
        &'a self,
        calls: &'a [Authorization],
    ) -> impl Iterator<Item = &'a Authorization> {
        calls.iter().filter(|call| (&call.function, &call.action) == (&self.function, &self.action))
    }
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} on {}", self.function, self.action, self.resource)
    }
}

/// The grants of a policy, one for each action and each resource.
fn grants_of(function: &str, policy: &Value) -> Result<Vec<Grant>, Unsupported> {
    let policy: Policy = serde_json::from_value(policy.clone())
        .map_err(|error| Unsupported(format!("{function}: {error}")))?;
    let mut grants = Vec::new();
    for Statement { effect, action, resource, condition } in policy.statement {
        if effect != "Allow" {
            return Err(Unsupported(format!("{function}: {effect}")));
        }
        for action in action.items() {
            if action.contains(['*', '?']) {
                return Err(Unsupported(format!("{function} has a wildcard permission: {action}")));
            }
            for resource in resource.items() {
                grants.push(Grant {
                    function: function.to_owned(),
                    action: action.clone(),
                    resource: resource.clone(),
                    condition: condition.clone(),
                });
            }
        }
    }
    Ok(grants)
}

/// The policy with these grants.
fn policy<'a>(grants: impl IntoIterator<Item = &'a Grant>) -> Value {
    let statements = grants.into_iter().map(|grant| {
        let mut statement =
            json!({"Effect": "Allow", "Action": grant.action, "Resource": grant.resource});
        if !grant.condition.is_empty() {
            statement["Condition"] = json!(grant.condition);
        }
        statement
    });
    json!({"Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>()})
}

fn decide(tools: &Tools, questions: &[Question<'_>]) -> anyhow::Result<Vec<Decision>> {
    let folder = tools.node_modules();
    let mut node = Command::new(tools.node());
    // Node finds packages in the folder `node_modules` of its working directory.
    node.args(["--input-type=module", "-e", DECIDE])
        .current_dir(folder.parent().unwrap_or(&folder));
    let output = run(&mut node, &json!(questions)).context("the IAM evaluator")?;
    let decisions: Vec<String> = serde_json::from_str(&output).context("the IAM evaluator")?;
    let decision = |text: String| match text.as_str() {
        "Allowed" => Decision::Allowed,
        "ImplicitlyDenied" | "ExplicitlyDenied" => Decision::Denied,
        _ => Decision::Invalid(text),
    };
    Ok(decisions.into_iter().map(decision).collect())
}

/// Runs a program on `input` and returns its output.
fn run(command: &mut Command, input: &Value) -> anyhow::Result<String> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let mut stdin = process.stdin.take().context("standard input is piped")?;
    stdin.write_all(input.to_string().as_bytes())?;
    drop(stdin);
    let output = process.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The actions that Lambda itself performs with a function's role. Lambda reads streams (Amazon `DynamoDB` Developer
/// Guide, "IAM policy to allow an AWS Lambda function to access `DynamoDB` stream records"), reports records that it
/// gives up on, and writes logs and traces.
const BY_LAMBDA: [&str; 9] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:SendMessage",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
];

/// A recorded call.
#[derive(Deserialize)]
struct Recorded {
    caller: String,
    service: String,
    operation: String,
    body: String,
}

/// The authorizations that the functions of `stack` needed for recorded calls. Each line of `calls` is a JSON object
/// with `caller`, `service`, `operation` and `body`. Physical ids have the form `stack-LogicalId-suffix`.
///
/// # Errors
/// When a function makes a call that is not supported here.
pub fn authorizations(stack: &str, calls: &str) -> Result<BTreeSet<Authorization>, Unsupported> {
    let mut all = BTreeSet::new();
    for line in calls.lines() {
        let call: Recorded =
            serde_json::from_str(line).map_err(|error| Unsupported(error.to_string()))?;
        let Some(function) = logical(stack, &call.caller) else { continue };
        let body: Value = serde_json::from_str(&call.body)
            .map_err(|error| Unsupported(format!("{function}: {error}")))?;
        let operation = call.operation.rsplit('.').next().unwrap_or_default();
        let needed = match call.service.as_str() {
            "dynamodb" => dynamodb(operation, &body),
            "secretsmanager" => secretsmanager(operation, &body),
            "ses" if operation == "/v2/email/outbound-emails" => ses(&body),
            _ => None,
        };
        let needed = needed.ok_or_else(|| {
            Unsupported(format!(
                "{function} calls {}, operation {}, which this test does not support",
                call.service, call.operation
            ))
        })?;
        for (action, resource, context) in needed {
            let resource = logical(stack, &resource).unwrap_or(resource);
            all.insert(Authorization { function: function.clone(), action, resource, context });
        }
    }
    Ok(all)
}

/// The logical id in a physical id, or in an ARN that contains one.
fn logical(stack: &str, physical: &str) -> Option<String> {
    let (_, rest) = physical.split_once(&format!("{stack}-"))?;
    Some(rest.split_once('-')?.0.to_owned())
}

/// Actions, each with its resource and the values of condition keys.
type Needed = Vec<(String, String, BTreeMap<&'static str, BTreeSet<String>>)>;

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// IAM has no action for transactions: each part needs the action of its operation
/// (Amazon `DynamoDB` Developer Guide, "IAM and `DynamoDB` transactions").
fn dynamodb(operation: &str, body: &Value) -> Option<Needed> {
    let one = |operation: &str, body: &Value| {
        let table = text(&body["TableName"])?;
        let key = match operation {
            "GetItem" | "UpdateItem" | "DeleteItem" | "ConditionCheckItem" => &body["Key"]["pk"],
            "PutItem" => &body["Item"]["pk"],
            // Every query in Latchkey uses this placeholder for the partition key.
            "Query" => &body["ExpressionAttributeValues"][":pk"],
            _ => return None,
        };
        // A policy can restrict only the kind of the item, because the rest of the key identifies an account.
        let key = text(&key["S"])?;
        let kind = key.split_inclusive('#').next().unwrap_or_default().to_owned();
        let context = [("dynamodb:LeadingKeys", BTreeSet::from([kind]))];
        Some((format!("dynamodb:{operation}"), table, context.into()))
    };
    if operation == "BatchGetItem" {
        let tables = body["RequestItems"].as_object()?.iter();
        let keys = tables.flat_map(|(table, read)| {
            let keys = read["Keys"].as_array().into_iter().flatten();
            keys.map(move |key| one("GetItem", &json!({"TableName": table, "Key": key})))
        });
        let needed = keys.map(|needed| {
            needed.map(|(_, table, context)| ("dynamodb:BatchGetItem".to_owned(), table, context))
        });
        return needed.collect();
    }
    if operation != "TransactWriteItems" {
        return Some(vec![one(operation, body)?]);
    }
    let parts = body["TransactItems"].as_array()?.iter();
    parts
        .map(|part| {
            let (kind, part) = part.as_object()?.iter().next()?;
            let operation = match kind.as_str() {
                "ConditionCheck" => "ConditionCheckItem".to_owned(),
                kind => format!("{kind}Item"),
            };
            one(&operation, part)
        })
        .collect()
}

fn secretsmanager(operation: &str, body: &Value) -> Option<Needed> {
    let secret = text(&body["SecretId"])?;
    let mut context = BTreeMap::new();
    if operation == "GetSecretValue" {
        let stage = text(&body["VersionStage"]).unwrap_or_else(|| "AWSCURRENT".to_owned());
        context.insert("secretsmanager:VersionStage", BTreeSet::from([stage]));
    }
    Some(vec![(format!("secretsmanager:{operation}"), secret, context)])
}

/// The identity is an address or its domain, depending on the AWS account. If the identity has a default configuration
/// set, the call needs a grant on that set too.
fn ses(body: &Value) -> Option<Needed> {
    let from = text(&body["FromEmailAddress"])?;
    let address = from.rsplit('<').next()?.trim_end_matches('>').to_owned();
    let needed = |resource: &str| {
        let arn = format!("arn:aws:ses:us-east-1:000000000000:{resource}");
        let context = [("ses:FromAddress", BTreeSet::from([address.clone()]))].into();
        ("ses:SendEmail".to_owned(), arn, context)
    };
    Some(vec![needed(&format!("identity/{address}")), needed("configuration-set/default")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: &str, operation: &str, body: &Value) -> String {
        let call = json!({
            "caller": "my-stack-AFunction-1A2B",
            "service": service,
            "operation": operation,
            "body": body.to_string(),
        });
        format!("{call}\n")
    }

    #[test]
    fn a_grant_is_one_action_on_one_resource() {
        let condition = json!({"StringEquals": {"k": "v"}});
        let statement = json!({
            "Effect": "Allow", "Action": ["a:B", "a:C"], "Resource": ["r", "s"], "Condition": condition,
        });
        let whole = json!({"Version": "2012-10-17", "Statement": [statement]});
        let grants = grants_of("F", &whole).unwrap();
        let listed: Vec<_> = grants.iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["F: a:B on r", "F: a:B on s", "F: a:C on r", "F: a:C on s"]);
        let again = policy(&grants);
        assert_eq!(again["Statement"][3]["Condition"], condition);
        assert_eq!(grants_of("F", &again).unwrap(), grants);
    }

    #[test]
    fn an_unsupported_policy_is_an_error() {
        let good = json!({"Effect": "Allow", "Action": "a:B", "Resource": "r"});
        let policy = |statement: &Value| json!({"Version": "2012-10-17", "Statement": [statement]});
        assert!(grants_of("F", &policy(&good)).is_ok());
        for bad in [
            json!({"Effect": "Deny", "Action": "a:B", "Resource": "r"}),
            json!({"Effect": "Allow", "Action": "a:*", "Resource": "r"}),
            json!({"Effect": "Allow", "Action": "a:Get?tem", "Resource": "r"}),
            json!({"Effect": "Allow", "NotAction": "a:B", "Resource": "r"}),
            json!({"Effect": "Allow", "Action": "a:B", "NotResource": "r"}),
        ] {
            assert!(grants_of("F", &policy(&bad)).is_err(), "{bad}");
        }
        let scan = call("dynamodb", "DynamoDB_20120810.Scan", &json!({"TableName": "x"}));
        assert!(authorizations("my-stack", &scan).is_err());
        let queue = call("sqs", "AmazonSQS.SendMessage", &json!({}));
        assert!(authorizations("my-stack", &queue).is_err());
    }

    #[test]
    fn a_batch_needs_a_grant_on_every_kind_of_item() {
        let key = |pk: &str| json!({"pk": {"S": pk}, "sk": {"S": "ACCOUNT"}});
        let keys = [key("USER#1"), key("USER#2"), key("OTHER#1")];
        let batch = json!({"RequestItems": {"my-stack-Users-1": {"Keys": keys}}});
        let batch = call("dynamodb", "DynamoDB_20120810.BatchGetItem", &batch);
        let needed = authorizations("my-stack", &batch).unwrap();
        let kinds: Vec<_> = needed
            .iter()
            .map(|needed| (needed.action.as_str(), needed.context["dynamodb:LeadingKeys"].clone()))
            .collect();
        let expected = ["OTHER#", "USER#"]
            .map(|kind| ("dynamodb:BatchGetItem", BTreeSet::from([kind.to_owned()])));
        assert_eq!(kinds, expected);
    }

    #[test]
    fn calls_of_other_stacks_are_ignored() {
        let read = call(
            "dynamodb",
            "DynamoDB_20120810.GetItem",
            &json!({"TableName": "my-stack-Users-1", "Key": {"pk": {"S": "A#1"}}}),
        );
        assert_eq!(authorizations("my-stack", &read).unwrap().len(), 1);
        let other = read.replace("my-stack-AFunction-1A2B", "local");
        assert!(authorizations("my-stack", &other).unwrap().is_empty());
    }
}
