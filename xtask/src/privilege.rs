//! Least privilege: what the template grants to each function, against what functions do.
//!
//! A grant is an action on a resource, under conditions. What is understood of IAM's language is what
//! the template uses; anything else is an error, since a grant that is not understood cannot be judged.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Tagged;

/// What a function may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The logical id of the function.
    pub function: String,
    /// The action, such as `dynamodb:GetItem`.
    pub action: String,
    /// The logical id of the resource, or what the template has instead of one.
    pub resource: String,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
}

/// A condition of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    quantifier: Quantifier,
    /// The condition key, such as `dynamodb:LeadingKeys`.
    pub key: String,
    /// What it may be, with `*` for anything.
    pub values: Vec<String>,
}

/// For how many of the values of a key a condition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quantifier {
    /// There is one, and it fits.
    One,
    /// Whatever there are, they fit: also when there is none.
    All,
}

/// What IAM would be asked when a function makes a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authorization {
    /// The logical id of the function.
    pub function: String,
    /// The action.
    pub action: String,
    /// The logical id of the resource.
    pub resource: String,
    /// The values of condition keys.
    pub context: BTreeMap<&'static str, BTreeSet<String>>,
}

/// Something that is not understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Properties {
    policies: Vec<Policy>,
}

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
    action: OneOrMany<String>,
    resource: OneOrMany<Tagged<Value>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<Tagged<Value>>>>,
}

/// Where the template may have a list or, instead of a list of one, what would be in it.
struct OneOrMany<T>(Vec<T>);

impl<'de> Deserialize<'de> for OneOrMany<String> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = OneOrMany::<Tagged<Value>>::deserialize(deserializer)?;
        let texts = texts.0.into_iter().map(|Tagged(value, _)| match value {
            Value::String(text) => Ok(text),
            other => Err(serde::de::Error::custom(format!("{other} is no text"))),
        });
        texts.collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for OneOrMany<Tagged<Value>> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(value, tag) = Tagged::<Value>::deserialize(deserializer)?;
        Ok(Self(match (value, tag.as_deref()) {
            // `!If [Condition, this, that]` is one or the other.
            (Value::Array(items), Some("!If")) => {
                items.into_iter().skip(1).map(|item| Tagged(item, tag.clone())).collect()
            }
            (Value::Array(items), _) => items.into_iter().map(|item| Tagged(item, None)).collect(),
            (value, _) => vec![Tagged(value, tag)],
        }))
    }
}

/// All grants of the functions of a template.
///
/// # Errors
/// When a policy has something that is not understood here.
pub fn grants(template: &str) -> Result<Vec<Grant>, NotUnderstood> {
    let document: Document =
        serde_saphyr::from_str(template).map_err(|error| NotUnderstood(error.to_string()))?;
    let mut grants = Vec::new();
    for (function, resource) in document.resources {
        if resource.r#type != "AWS::Serverless::Function" {
            continue;
        }
        for statement in resource.properties.policies.into_iter().flat_map(|it| it.statement) {
            if statement.effect != "Allow" {
                return Err(NotUnderstood(format!("{function}: {}", statement.effect)));
            }
            let conditions = conditions(&function, statement.condition)?;
            for resource in targets(&function, &statement.resource)? {
                for action in &statement.action.0 {
                    if action.contains('*') {
                        return Err(NotUnderstood(format!("{function} may do anything: {action}")));
                    }
                    grants.push(Grant {
                        function: function.clone(),
                        action: action.clone(),
                        resource: resource.clone(),
                        conditions: conditions.clone(),
                    });
                }
            }
        }
    }
    Ok(grants)
}

/// The resources of a statement.
fn targets(
    function: &str,
    resources: &OneOrMany<Tagged<Value>>,
) -> Result<BTreeSet<String>, NotUnderstood> {
    // `!If` in a list: its items have lost their tags.
    let flat = resources.0.iter().flat_map(|Tagged(value, _)| match value {
        Value::Array(items) => items.iter().skip(1).collect(),
        other => vec![other],
    });
    flat.filter(|value| *value != "AWS::NoValue")
        .map(|value| match value.as_str() {
            Some("*") | None => {
                Err(NotUnderstood(format!("{function} may do something to anything: {value}")))
            }
            Some(text) => Ok(text.strip_suffix(".Arn").unwrap_or(text).to_owned()),
        })
        .collect()
}

fn conditions(
    function: &str,
    conditions: BTreeMap<String, BTreeMap<String, OneOrMany<Tagged<Value>>>>,
) -> Result<Vec<Condition>, NotUnderstood> {
    let mut all = Vec::new();
    for (operator, keys) in conditions {
        let quantifier = match operator.as_str() {
            "StringEquals" | "StringLike" => Quantifier::One,
            "ForAllValues:StringEquals" | "ForAllValues:StringLike" => Quantifier::All,
            _ => return Err(NotUnderstood(format!("{function}: the operator {operator}"))),
        };
        for (key, values) in keys {
            let values = values.0.into_iter().map(|Tagged(value, tag)| match (value, tag) {
                // Only a deployment knows.
                (_, Some(tag)) if tag == "!Ref" => Ok("*".to_owned()),
                (Value::String(text), _) => Ok(text),
                (other, _) => Err(NotUnderstood(format!("{function}: the value {other}"))),
            });
            let values = values.collect::<Result<_, _>>()?;
            all.push(Condition { quantifier, key, values });
        }
    }
    Ok(all)
}

impl Grant {
    /// Whether it lets a call through.
    #[must_use]
    pub fn covers(&self, call: &Authorization) -> bool {
        (&self.function, &self.action, &self.resource)
            == (&call.function, &call.action, &call.resource)
            && self.conditions.iter().all(|condition| condition.holds(call))
    }
}

impl Condition {
    fn holds(&self, call: &Authorization) -> bool {
        let values = call.context.get(self.key.as_str());
        let fits = |value: &String| self.values.iter().any(|pattern| matches(pattern, value));
        match (self.quantifier, values) {
            (Quantifier::One, None) => false,
            (Quantifier::All, None) => true,
            (_, Some(values)) => values.iter().all(fits),
        }
    }
}

/// Whether `text` is of the form of `pattern`, in which a `*` at the end stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

/// What Lambda does with a function's rights before it invokes it with a stream's records, and when it gives
/// records up, so that the function itself does not (Amazon `DynamoDB` Developer Guide, "IAM policy to allow an AWS Lambda function to
/// access `DynamoDB` stream records").
const BY_LAMBDA: [&str; 5] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "sqs:SendMessage",
];

/// What is wrong with the grants, given all that was asked for: calls that are not granted, grants and
/// values of their conditions that nothing needed. Each line names function and action.
#[must_use]
pub fn faults(grants: &[Grant], calls: &BTreeSet<Authorization>) -> Vec<String> {
    let mut faults = Vec::new();
    for call in calls {
        if !grants.iter().any(|grant| grant.covers(call)) {
            let Authorization { function, action, resource, context } = call;
            faults.push(format!("{function} is not granted {action} on {resource} {context:?}"));
        }
    }
    for grant in grants {
        let Grant { function, action, resource, conditions } = grant;
        let by_lambda = resource.ends_with(".StreamArn") || action == "sqs:SendMessage";
        if BY_LAMBDA.contains(&action.as_str()) && by_lambda {
            continue;
        }
        let used: Vec<_> = calls.iter().filter(|call| grant.covers(call)).collect();
        if used.is_empty() {
            faults.push(format!("{function} never uses {action} on {resource}"));
            continue;
        }
        for condition in conditions {
            for pattern in &condition.values {
                let asked = used.iter().filter_map(|call| call.context.get(condition.key.as_str()));
                if !asked.flatten().any(|value| matches(pattern, value)) {
                    let key = &condition.key;
                    faults.push(format!(
                        "{function} never uses {action} on {resource} with {key} {pattern}"
                    ));
                }
            }
        }
    }
    faults
}

/// What a recorded call is.
#[derive(Deserialize)]
struct Recorded {
    caller: String,
    service: String,
    operation: String,
    body: String,
}

/// The authorizations of recorded calls, one object of JSON a line with `caller`, `service`, `operation` and
/// `body`: those of the functions of the stack `stack`, which name things `stack-LogicalId-suffix`.
///
/// # Errors
/// When a function makes a call that is not understood here.
pub fn authorizations(stack: &str, calls: &str) -> Result<BTreeSet<Authorization>, NotUnderstood> {
    let mut all = BTreeSet::new();
    for line in calls.lines() {
        let call: Recorded =
            serde_json::from_str(line).map_err(|error| NotUnderstood(error.to_string()))?;
        let Some(function) = logical(stack, &call.caller) else { continue };
        let body: Value = serde_json::from_str(&call.body)
            .map_err(|error| NotUnderstood(format!("{function}: {error}")))?;
        let operation = call.operation.rsplit('.').next().unwrap_or_default();
        let needed = match call.service.as_str() {
            "dynamodb" => dynamodb(operation, &body),
            "secretsmanager" => secretsmanager(operation, &body),
            "ses" if operation == "/v2/email/outbound-emails" => ses(&body),
            _ => None,
        };
        let needed = needed.ok_or_else(|| {
            NotUnderstood(format!("{function} asks {} for {}", call.service, call.operation))
        })?;
        for (action, resource, context) in needed {
            let resource = logical(stack, &resource).unwrap_or(resource);
            all.insert(Authorization { function: function.clone(), action, resource, context });
        }
    }
    Ok(all)
}

/// The logical id in a physical one, or in an ARN with it.
fn logical(stack: &str, physical: &str) -> Option<String> {
    let (_, rest) = physical.split_once(&format!("{stack}-"))?;
    Some(rest.split_once('-')?.0.to_owned())
}

type Needed = Vec<(String, String, BTreeMap<&'static str, BTreeSet<String>>)>;

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Transactions have no action of their own: each part is authorized as what it does
/// (Amazon `DynamoDB` Developer Guide, "IAM and `DynamoDB` transactions").
fn dynamodb(operation: &str, body: &Value) -> Option<Needed> {
    let one = |operation: &str, body: &Value| {
        let table = text(&body["TableName"])?;
        let key = match operation {
            "GetItem" | "UpdateItem" | "DeleteItem" | "ConditionCheckItem" => &body["Key"]["pk"],
            "PutItem" => &body["Item"]["pk"],
            // By the placeholder that every query of ours has for it.
            "Query" => &body["ExpressionAttributeValues"][":pk"],
            _ => return None,
        };
        // The kind of item, which is all that a policy can go by: the rest is somebody's.
        let key = text(&key["S"])?;
        let kind = key.split_inclusive('#').next().unwrap_or_default().to_owned();
        let context = [("dynamodb:LeadingKeys", BTreeSet::from([kind]))];
        Some((format!("dynamodb:{operation}"), table, context.into()))
    };
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

/// The identity is an address or its domain: which one, only the account knows.
fn ses(body: &Value) -> Option<Needed> {
    let from = text(&body["FromEmailAddress"])?;
    let address = from.rsplit('<').next()?.trim_end_matches('>').to_owned();
    let context = [("ses:FromAddress", BTreeSet::from([address]))].into();
    Some(vec![("ses:SendEmail".to_owned(), SES_IDENTITIES.to_owned(), context)])
}

/// What the template has for the identities of SES.
const SES_IDENTITIES: &str =
    "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*";

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "
Resources:
  AFunction:
    Type: AWS::Serverless::Function
    Properties:
      Policies:
        - Version: '2012-10-17'
          Statement:
            - Effect: Allow
              Action: [dynamodb:GetItem, dynamodb:PutItem]
              Resource: !GetAtt Users.Arn
              Condition:
                ForAllValues:StringLike:
                  dynamodb:LeadingKeys: ['A#*', 'B#*']
            - Effect: Allow
              Action: dynamodb:GetItem
              Resource: [!GetAtt Keys.Arn, !If [Some, !GetAtt Other.Arn, !Ref AWS::NoValue]]
            - Effect: Allow
              Action: secretsmanager:GetSecretValue
              Resource: !Ref Secret
              Condition: { StringEquals: { secretsmanager:VersionStage: AWSCURRENT } }
  Users:
    Type: AWS::DynamoDB::Table
";

    fn call(service: &str, operation: &str, body: &Value) -> String {
        let call = serde_json::json!({
            "caller": "my-stack-AFunction-1A2B",
            "service": service,
            "operation": operation,
            "body": body.to_string(),
        });
        format!("{call}\n")
    }

    /// Calls that need all grants of the template but the one of `Other`.
    fn calls() -> String {
        let table = "my-stack-Users-1";
        [
            ("dynamodb", "DynamoDB_20120810.GetItem",
                serde_json::json!({"TableName": table, "Key": {"pk": {"S": "A#1"}}})),
            ("dynamodb", "DynamoDB_20120810.GetItem",
                serde_json::json!({"TableName": table, "Key": {"pk": {"S": "B#1"}}})),
            ("dynamodb", "DynamoDB_20120810.TransactWriteItems",
                serde_json::json!({"TransactItems": [
                    {"Put": {"TableName": table, "Item": {"pk": {"S": "A#1"}}}},
                    {"Put": {"TableName": table, "Item": {"pk": {"S": "B#1"}}}},
                ]})),
            ("dynamodb", "DynamoDB_20120810.GetItem",
                serde_json::json!({"TableName": "my-stack-Keys-1", "Key": {"pk": {"S": "K"}}})),
            ("secretsmanager", "secretsmanager.GetSecretValue",
                serde_json::json!({"SecretId": "arn:aws:secretsmanager:x:1:secret:my-stack-Secret-1-2"})),
        ]
        .iter()
        .map(|(service, operation, body)| call(service, operation, body))
        .collect()
    }

    fn found(template: &str, calls: &str) -> Vec<String> {
        faults(&grants(template).unwrap(), &authorizations("my-stack", calls).unwrap())
    }

    #[test]
    fn what_is_granted_and_used_is_no_fault_and_all_else_is_named() {
        let unused = "AFunction never uses dynamodb:GetItem on Other";
        assert_eq!(found(TEMPLATE, &calls()), [unused]);
        let less = TEMPLATE.replace("[dynamodb:GetItem, dynamodb:PutItem]", "dynamodb:GetItem");
        let said = found(&less, &calls()).join("\n");
        assert!(said.contains("AFunction is not granted dynamodb:PutItem on Users"), "{said}");
        let more = TEMPLATE.replace("dynamodb:PutItem]", "dynamodb:PutItem, dynamodb:Scan]");
        let said = found(&more, &calls()).join("\n");
        assert!(said.contains("AFunction never uses dynamodb:Scan on Users"), "{said}");
        let wider = TEMPLATE.replace("'B#*']", "'B#*', 'C#*']");
        let said = found(&wider, &calls()).join("\n");
        assert!(
            said.contains("never uses dynamodb:PutItem on Users with dynamodb:LeadingKeys C#*")
        );
        let narrower = TEMPLATE.replace(", 'B#*'", "");
        let said = found(&narrower, &calls()).join("\n");
        assert!(said.contains("AFunction is not granted dynamodb:PutItem on Users"), "{said}");
        let other = TEMPLATE.replace("AWSCURRENT", "AWSPENDING");
        let said = found(&other, &calls()).join("\n");
        assert!(said.contains("is not granted secretsmanager:GetSecretValue on Secret"), "{said}");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (from, to) in [
            ("Effect: Allow", "Effect: Deny"),
            ("dynamodb:PutItem]", "dynamodb:*]"),
            ("Resource: !GetAtt Users.Arn", "Resource: '*'"),
            ("Resource: !GetAtt Users.Arn", "NotResource: !GetAtt Users.Arn"),
            ("ForAllValues:StringLike", "ForAnyValue:StringLike"),
        ] {
            assert!(grants(&TEMPLATE.replace(from, to)).is_err(), "{to}");
        }
        let scan =
            call("dynamodb", "DynamoDB_20120810.Scan", &serde_json::json!({"TableName": "x"}));
        assert!(authorizations("my-stack", &scan).is_err());
        let queue = call("sqs", "AmazonSQS.SendMessage", &serde_json::json!({}));
        assert!(authorizations("my-stack", &queue).is_err());
    }

    #[test]
    fn calls_of_others_do_not_count() {
        let other = calls().replace("my-stack-AFunction-1A2B", "local");
        assert!(authorizations("my-stack", &other).unwrap().is_empty());
    }
}
