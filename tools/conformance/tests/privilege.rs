//! Tests the functions' permissions in the roles that SAM and CloudFormation would create from the template.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use develop::tools::{ToolSet, Tools};
use serde_json::{Value, json};
use template::project::Project;
use testkit::privilege::{Authorization, Decision, Roles, authorizations};
use tokio::sync::OnceCell;

/// The functions that may read private signing keys: they sign tokens or rotate the keys.
const SIGNERS: [&str; 5] = [
    "LoginFunction",
    "PasswordChangeFunction",
    "RefreshFunction",
    "RotateKeysFunction",
    "StepUpFunction",
];

/// The functions that may read peppers: they count attempts, store or look up a MAC, create a code, or
/// encrypt a cursor.
const PEPPER_READERS: [&str; 17] = [
    "AccountDeleteFunction",
    "AccountEventsFunction",
    "AdminInvitesFunction",
    "AdminUserFunction",
    "AdminUsersFunction",
    "EmailChangeFunction",
    "EmailVerifyCodeFunction",
    "EmailVerifyFunction",
    "EmailVerifySendFunction",
    "LoginFunction",
    "MailerFunction",
    "PasswordChangeFunction",
    "PasswordForgotFunction",
    "PasswordResetFunction",
    "RefreshFunction",
    "RegisterFunction",
    "StepUpFunction",
];

/// The functions that change no data.
const READERS: [&str; 12] = [
    "AccountEventsFunction",
    "AdminFunction",
    "AdminUsersFunction",
    "AuthorizerFunction",
    "DiscoveryFunction",
    "JwksFunction",
    "MeFunction",
    "ProtectedFunction",
    "ProtectedRouteAdminFunction",
    "ProtectedRouteFunction",
    "ProtectedRouteSuperAdminFunction",
    "ProtectedRouteUserFunction",
];

/// The actions that change nothing.
const READS: [&str; 5] = [
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
];

/// The actions that write to the log.
const LOGGING: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// The actions that write traces.
const TRACING: [&str; 2] = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

/// An event bus.
const BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/accounts";

/// Parameters that add every optional function and permission.
const EVERYTHING: [(&str, &str); 5] = [
    ("Authorizer", "true"),
    ("AuthorizerAccess", "checked"),
    ("EventBus", BUS),
    ("MailFrom", "no-reply@example.com"),
    ("Tracing", "Active"),
];

/// The tools, and the roles of the template with every optional function and permission.
async fn everything() -> &'static (Tools, Roles) {
    static EVERYTHING_ONCE: OnceCell<(Tools, Roles)> = OnceCell::const_new();
    let translate = async || {
        let tools = tools().await;
        let roles = template_roles(&tools, &EVERYTHING);
        (tools, roles)
    };
    EVERYTHING_ONCE.get_or_init(translate).await
}

async fn tools() -> Tools {
    Tools::install(&Project::here(), ToolSet::Test).await.unwrap()
}

fn template_roles(tools: &Tools, parameters: &[(&str, &str)]) -> Roles {
    Roles::of(tools, &Project::here().template(), parameters).unwrap()
}

type Context<'a> = &'a [(&'static str, &'a str)];

fn authorization(
    function: &str,
    action: &str,
    resource: &str,
    context: Context<'_>,
) -> Authorization {
    let context = context.iter().map(|(key, value)| (*key, BTreeSet::from([(*value).to_owned()])));
    Authorization {
        function: function.to_owned(),
        action: action.to_owned(),
        resource: resource.to_owned(),
        context: context.collect(),
    }
}

/// An action, a resource, and the values of condition keys.
type Operation<'a> = (&'a str, &'a str, Context<'a>);

/// For each operation, the functions that may perform it.
fn who_may<'a>(
    tools: &Tools,
    roles: &'a Roles,
    operations: &[Operation<'_>],
) -> Vec<BTreeSet<&'a str>> {
    let functions: Vec<_> = roles.functions().collect();
    let questions = operations.iter().flat_map(|(action, resource, context)| {
        functions.iter().map(move |function| authorization(function, action, resource, context))
    });
    let questions: Vec<_> = questions.collect();
    let mut decisions = roles.decide(tools, &questions).unwrap().into_iter();
    let who = operations.iter().map(|(action, resource, _)| {
        let decided = functions.iter().zip(decisions.by_ref().take(functions.len()));
        decided
            .filter_map(|(function, decision)| match decision {
                Decision::Allowed => Some(*function),
                Decision::Denied => None,
                Decision::Invalid(reason) => panic!("{action} on {resource}: {reason}"),
            })
            .collect()
    });
    who.collect()
}

#[tokio::test]
async fn only_listed_functions_read_secrets() {
    const STAGE: &str = "secretsmanager:VersionStage";
    let (tools, roles) = everything().await;
    let current: Context<'_> = &[(STAGE, "AWSCURRENT")];
    let pending: Context<'_> = &[(STAGE, "AWSPENDING")];
    let previous: Context<'_> = &[(STAGE, "AWSPREVIOUS")];
    let by_version_id: Context<'_> = &[];
    let nobody = BTreeSet::new;
    let expected = [
        ("SigningKeys", current, BTreeSet::from(SIGNERS)),
        ("SigningKeys", pending, BTreeSet::from(["RotateKeysFunction"])),
        ("SigningKeys", previous, nobody()),
        ("SigningKeys", by_version_id, nobody()),
        ("Peppers", current, BTreeSet::from(PEPPER_READERS)),
        ("Peppers", pending, nobody()),
        ("Peppers", previous, nobody()),
        ("Peppers", by_version_id, nobody()),
    ];
    let read = |(secret, context, _): &(&'static str, Context<'static>, _)| {
        ("secretsmanager:GetSecretValue", *secret, *context)
    };
    let readers = who_may(tools, roles, &expected.each_ref().map(read));
    for ((secret, context, expected), readers) in expected.into_iter().zip(readers) {
        assert_eq!(readers, expected, "{secret} {context:?}");
    }
}

#[tokio::test]
async fn only_rotation_writes_public_keys() {
    let (tools, roles) = everything().await;
    let actions = [
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:PartiQLUpdate",
    ];
    let writers = who_may(tools, roles, &actions.map(|action| (action, "KeysTable", &[][..])));
    let writers: BTreeSet<_> = writers.into_iter().flatten().collect();
    assert_eq!(writers, BTreeSet::from(["RotateKeysFunction"]));
}

#[tokio::test]
async fn readers_write_only_their_log_and_traces() {
    let (_, roles) = everything().await;
    let functions: BTreeSet<_> = roles.functions().collect();
    for reader in READERS {
        assert!(functions.contains(reader), "{reader}");
    }
    for grant in roles.grants().unwrap() {
        let action = grant.action.as_str();
        let harmless = [&READS[..], &LOGGING, &TRACING].concat().contains(&action);
        assert!(harmless || !READERS.contains(&grant.function.as_str()), "{grant}");
    }
}

#[tokio::test]
async fn only_one_reader_can_read_password_hashes() {
    let (tools, roles) = everything().await;
    let hash: Context<'_> = &[("dynamodb:LeadingKeys", "USERNAME#testuser")];
    let permitted = who_may(tools, roles, &[("dynamodb:GetItem", "UsersTable", hash)]).remove(0);
    assert!(permitted.contains("LoginFunction"));
    let readers: Vec<_> = READERS.into_iter().filter(|it| permitted.contains(it)).collect();
    // `AdminUsersFunction` finds an account by the item that claims its username. A policy cannot distinguish this item
    // from the hash, because both have the same partition key.
    assert_eq!(readers, ["AdminUsersFunction"]);
}

#[tokio::test]
async fn roles_have_only_policies_from_the_template() {
    let tools = tools().await;
    for parameters in [&[][..], &EVERYTHING] {
        let roles = template_roles(&tools, parameters);
        assert_eq!(roles.foreign().collect::<Vec<_>>(), []);
    }
}

#[tokio::test]
async fn traces_are_written_only_if_tracing_is_on() {
    let tools = tools().await;
    for (tracing, traces) in [(None, false), (Some("PassThrough"), false), (Some("Active"), true)] {
        let parameters: Vec<_> = tracing.map(|value| ("Tracing", value)).into_iter().collect();
        let roles = template_roles(&tools, &parameters);
        let mut granted: BTreeMap<_, BTreeSet<_>> =
            roles.functions().map(|function| (function.to_owned(), BTreeSet::new())).collect();
        for grant in roles.grants().unwrap() {
            if grant.action.starts_with("xray:") {
                granted.get_mut(&grant.function).unwrap().insert(grant.action);
            }
        }
        let expected =
            if traces { BTreeSet::from(TRACING.map(str::to_owned)) } else { BTreeSet::new() };
        for (function, granted) in granted {
            assert_eq!(granted, expected, "{function} with {tracing:?}");
        }
    }
}

#[tokio::test]
async fn functions_write_only_the_log_of_the_stack() {
    let (tools, roles) = everything().await;
    let all: BTreeSet<_> = roles.functions().collect();
    let [ours, other] = ["FunctionsLog:log-stream:s", "ApiLog:log-stream:s"]
        .map(|stream| format!("arn:aws:logs:us-east-1:000000000000:log-group:{stream}"));
    let group = "arn:aws:logs:us-east-1:000000000000:log-group:new";
    let [create, put] = LOGGING;
    let expected = [
        (create, ours.as_str(), all.clone()),
        (put, ours.as_str(), all),
        (create, other.as_str(), BTreeSet::new()),
        (put, other.as_str(), BTreeSet::new()),
        ("logs:CreateLogGroup", group, BTreeSet::new()),
    ];
    let operations = expected.each_ref().map(|(action, resource, _)| (*action, *resource, &[][..]));
    for ((action, resource, expected), permitted) in
        expected.iter().zip(who_may(tools, roles, &operations))
    {
        assert_eq!(&permitted, expected, "{action} {resource}");
    }
}

#[tokio::test]
async fn only_the_mailer_sends_mail_and_only_from_the_configured_address() {
    let (tools, roles) = everything().await;
    let ours: Context<'_> = &[("ses:FromAddress", "no-reply@example.com")];
    let other: Context<'_> = &[("ses:FromAddress", "root@example.com")];
    let arns = ["identity/example.com", "identity/no-reply@example.com", "configuration-set/a"]
        .map(|resource| format!("arn:aws:ses:us-east-1:000000000000:{resource}"));
    for (from, expected) in [(ours, BTreeSet::from(["MailerFunction"])), (other, BTreeSet::new())] {
        let operations = arns.each_ref().map(|arn| ("ses:SendEmail", arn.as_str(), from));
        for permitted in who_may(tools, roles, &operations) {
            assert_eq!(permitted, expected, "{from:?}");
        }
    }
}

#[tokio::test]
async fn only_the_publisher_sends_events_and_only_to_the_configured_bus() {
    let (tools, roles) = everything().await;
    let other = BUS.replace("accounts", "default");
    let senders =
        who_may(tools, roles, &[BUS, &other].map(|bus| ("events:PutEvents", bus, &[][..])));
    assert_eq!(senders, [BTreeSet::from(["EventPublisherFunction"]), BTreeSet::new()]);
}

/// A grant on a resource that its action does not support has no effect.
#[tokio::test]
async fn every_grant_has_an_effect() {
    let (tools, roles) = everything().await;
    let ineffective = roles.ineffective(tools).unwrap();
    assert!(ineffective.is_empty(), "{}", ineffective.join("\n"));
}

/// A template whose only role grants exactly the permissions that the calls in [`calls`] need.
const SMALL: &str = r#"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Some: { Type: String, Default: "no" }
Conditions:
  HasSome: !Equals [!Ref Some, "yes"]
Resources:
  AFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: a
      Runtime: provided.al2023
      Handler: bootstrap
      Role: !GetAtt ARole.Arn
  ARole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {}
      ManagedPolicyArns: [!Ref Shared]
      Policies:
        - PolicyName: own
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - Effect: Allow
                Action: [dynamodb:GetItem, dynamodb:PutItem]
                Resource: !GetAtt Users.Arn
                Condition:
                  ForAllValues:StringLike:
                    dynamodb:LeadingKeys: ["A#*", "B#*"]
              - Effect: Allow
                Action: dynamodb:GetItem
                Resource: [!GetAtt Keys.Arn, !If [HasSome, !GetAtt Other.Arn, !Ref AWS::NoValue]]
  Shared:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Action: secretsmanager:GetSecretValue
            Resource: !Ref Hidden
            Condition: { StringEquals: { secretsmanager:VersionStage: AWSCURRENT } }
  Users: { Type: AWS::DynamoDB::Table }
  Keys: { Type: AWS::DynamoDB::Table }
  Other: { Type: AWS::DynamoDB::Table }
  Hidden: { Type: AWS::SecretsManager::Secret }
"#;

/// Calls that need every grant of [`SMALL`] except the one that the parameter `Some` adds.
fn calls() -> BTreeSet<Authorization> {
    let get = |table: &str, key: &str| {
        let table = format!("my-stack-{table}-1");
        (
            "dynamodb",
            "DynamoDB_20120810.GetItem",
            json!({"TableName": table, "Key": {"pk": {"S": key}}}),
        )
    };
    let put =
        |key: &str| json!({"Put": {"TableName": "my-stack-Users-1", "Item": {"pk": {"S": key}}}});
    let secret = "arn:aws:secretsmanager:x:1:secret:my-stack-Hidden-1-2";
    let calls: [(&str, &str, Value); 5] = [
        get("Users", "A#1"),
        get("Users", "B#1"),
        get("Keys", "K"),
        (
            "dynamodb",
            "DynamoDB_20120810.TransactWriteItems",
            json!({"TransactItems": [put("A#1"), put("B#1")]}),
        ),
        ("secretsmanager", "secretsmanager.GetSecretValue", json!({"SecretId": secret})),
    ];
    let line = |(service, operation, body): (&str, &str, Value)| {
        let caller = "my-stack-AFunction-1A2B";
        let body = body.to_string();
        json!({"caller": caller, "service": service, "operation": operation, "body": body})
            .to_string()
    };
    authorizations("my-stack", &calls.map(line).join("\n")).unwrap()
}

fn translated(tools: &Tools, template: &str, parameters: &[(&str, &str)]) -> Roles {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), template).unwrap();
    Roles::of(tools, file.path(), parameters).unwrap()
}

/// Replaces `from` with `to` in the roles, which must contain `from`.
fn changed(roles: &Roles, from: &str, to: &str) -> Roles {
    let text = serde_json::to_string(roles).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    serde_json::from_str(&text.replace(from, to)).unwrap()
}

#[tokio::test]
async fn missing_and_superfluous_grants_are_reported() {
    let tools = tools().await;
    let faults = |roles: &Roles| roles.faults(&tools, &calls()).unwrap().join("\n");
    let small = translated(&tools, SMALL, &[]);
    assert_eq!(faults(&small), "");
    let more = translated(&tools, SMALL, &[("Some", "yes")]);
    assert_eq!(faults(&more), "AFunction never uses dynamodb:GetItem on Other");
    for (from, to, expected) in [
        (
            r#""dynamodb:GetItem","dynamodb:PutItem""#,
            r#""dynamodb:GetItem""#,
            "AFunction is not granted dynamodb:PutItem on Users",
        ),
        (
            r#""dynamodb:PutItem""#,
            r#""dynamodb:PutItem","dynamodb:Scan""#,
            "AFunction never uses dynamodb:Scan on Users",
        ),
        (
            r#""B#*""#,
            r#""B#*","C#*""#,
            "AFunction never uses dynamodb:PutItem on Users with dynamodb:LeadingKeys C#*",
        ),
        (r#","B#*""#, "", "AFunction is not granted dynamodb:PutItem on Users"),
        (
            "AWSCURRENT",
            "AWSPENDING",
            "AFunction is not granted secretsmanager:GetSecretValue on Hidden",
        ),
    ] {
        let reported = faults(&changed(&small, from, to));
        assert!(reported.contains(expected), "{to}: {reported}");
    }
}

#[tokio::test]
async fn policies_that_sam_adds_are_reported() {
    let tools = tools().await;
    let sam = SMALL.replace("      Role: !GetAtt ARole.Arn\n", "      Tracing: Active\n");
    let roles = translated(&tools, &sam, &[]);
    let foreign: Vec<_> = roles.foreign().map(|(_, arn)| arn.rsplit('/').next().unwrap()).collect();
    assert_eq!(foreign, ["AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"]);
}

#[tokio::test]
async fn a_grant_without_effect_is_reported() {
    let tools = tools().await;
    let small = translated(&tools, SMALL, &[]);
    assert_eq!(small.ineffective(&tools).unwrap(), Vec::<String>::new());
    for (from, to) in [
        (r#""dynamodb:PutItem""#, r#""dynamodb:ListTables""#),
        (r#""dynamodb:PutItem""#, r#""dynamodb:PutItems""#),
        ("dynamodb:LeadingKeys", "dynamodb:LeadingKey"),
    ] {
        assert!(!changed(&small, from, to).ineffective(&tools).unwrap().is_empty(), "{to}");
    }
}
