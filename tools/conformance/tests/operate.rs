//! Tests operational rules: alarms and their runbooks, metrics, logs, time limits, memory and CORS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use process::Metric;
use serde_json::Value;
use template::Template;
use template::project::Project;

/// The metrics of AWS services that alarms may watch, each with its dimensions. Sources: "Working with metrics for HTTP
/// APIs", "Types of metrics for Lambda functions", "`DynamoDB` metrics and dimensions", "Creating reputation
/// monitoring alarms using `CloudWatch`", "Available `CloudWatch` metrics for Amazon SQS".
const AWS_METRICS: [(&str, &str, &[&str]); 9] = [
    ("AWS/ApiGateway", "5xx", &["ApiId"]),
    ("AWS/ApiGateway", "Latency", &["ApiId"]),
    ("AWS/DynamoDB", "ReadThrottleEvents", &["TableName"]),
    ("AWS/DynamoDB", "WriteThrottleEvents", &["TableName"]),
    ("AWS/Lambda", "Errors", &["FunctionName"]),
    ("AWS/Lambda", "IteratorAge", &["FunctionName"]),
    ("AWS/Lambda", "Throttles", &[]),
    ("AWS/SES", "Reputation.BounceRate", &[]),
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", &["QueueName"]),
];

fn resources() -> BTreeMap<String, Value> {
    let template = fs::read_to_string(Project::here().template()).unwrap();
    let template: Value = serde_saphyr::from_str(&template).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    resources.iter().map(|(id, resource)| (id.clone(), resource.clone())).collect()
}

fn alarms() -> BTreeMap<String, Value> {
    let mut alarms = resources();
    alarms.retain(|_, resource| resource["Type"] == "AWS::CloudWatch::Alarm");
    assert!(!alarms.is_empty());
    alarms
}

/// The metrics that an alarm watches: objects with `Namespace`, `MetricName` and `Dimensions`.
fn watched_metrics(alarm: &Value) -> Vec<&Value> {
    let properties = &alarm["Properties"];
    match properties["Metrics"].as_array() {
        None => vec![properties],
        Some(several) => several.iter().filter_map(|it| it["MetricStat"].get("Metric")).collect(),
    }
}

fn dimensions(metric: &Value) -> Vec<&str> {
    let dimensions = metric["Dimensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    dimensions.iter().map(|dimension| dimension["Name"].as_str().unwrap()).collect()
}

#[test]
fn every_alarm_has_a_runbook_and_every_runbook_an_alarm() {
    let page = fs::read_to_string(Project::here().root().join("docs/operate.md")).unwrap();
    let (_, section) = page.split_once("\n## Alarms\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut runbooks = BTreeSet::new();
    for runbook in section.split("\n### ").skip(1) {
        let (title, text) = runbook.split_once('\n').unwrap();
        for part in ["**Means**: ", "**Look**: ", "**Do**: "] {
            assert!(text.contains(part), "{title} lacks {part}");
        }
        runbooks.insert(title.to_owned());
    }
    let alarms = alarms();
    assert_eq!(alarms.keys().cloned().collect::<BTreeSet<_>>(), runbooks);
    for (id, alarm) in alarms {
        let description = alarm["Properties"]["AlarmDescription"].as_str().unwrap();
        assert!(description.ends_with(&format!("docs/operate.md, {id}")), "{id}: {description}");
    }
}

#[test]
fn alarms_watch_metrics_that_exist() {
    for (id, alarm) in alarms() {
        for metric in watched_metrics(&alarm) {
            let text = |name: &str| metric[name].as_str().unwrap();
            let (namespace, name) = (text("Namespace"), text("MetricName"));
            if namespace == lambda::METRICS_NAMESPACE {
                assert!(Metric::of_name(name).is_some(), "{id}: there is no {name}");
                assert_eq!(dimensions(metric), ["Stack"], "{id}");
            } else {
                let known = (namespace, name, &dimensions(metric)[..]);
                assert!(AWS_METRICS.contains(&known), "{id}: {known:?}");
            }
        }
    }
}

/// AWS charges for each metric that an alarm watches. `cargo xtask cost` counts these metrics in the template.
#[test]
fn the_cost_of_alarms_includes_every_metric_that_they_watch() {
    let count: usize = alarms().values().map(|alarm| watched_metrics(alarm).len()).sum();
    assert_eq!(count, Template::read(&Project::here().template()).unwrap().alarm_metrics);
}

#[test]
fn alarms_notify_the_operator_and_are_optional() {
    for (id, alarm) in alarms() {
        let properties = &alarm["Properties"];
        assert_eq!(properties["AlarmActions"], serde_json::json!(["AlarmTopic"]), "{id}");
        assert_eq!(properties["TreatMissingData"], "notBreaching", "{id}");
        let condition = alarm["Condition"].as_str().unwrap_or_default();
        assert!(["HasAlarms", "HasMailAlarms", "HasEventBusAlarms"].contains(&condition), "{id}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_of_latchkey() {
    let resources = resources();
    let body = &resources["OperationsDashboard"]["Properties"]["DashboardBody"];
    let body: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    let mut shown = BTreeSet::new();
    for widget in body["widgets"].as_array().unwrap() {
        let mut namespace = "";
        for row in widget["properties"]["metrics"].as_array().unwrap() {
            // "." repeats a field of the previous row, and "..." repeats all its fields.
            match row[0].as_str().unwrap() {
                "." | "..." => {}
                other => namespace = other,
            }
            if namespace == lambda::METRICS_NAMESPACE && row[0] != "..." {
                let name = row[1].as_str().unwrap();
                assert!(Metric::of_name(name).is_some(), "there is no {name}");
                shown.insert(name.to_owned());
            }
        }
    }
    let all = Metric::ALL.map(|metric| metric.name().to_owned());
    assert_eq!(shown, BTreeSet::from(all), "the dashboard must show all metrics of Latchkey");
}

#[test]
fn logs_expire_after_the_configured_time() {
    let resources = resources();
    let logs = resources.iter().filter(|(_, it)| it["Type"] == "AWS::Logs::LogGroup");
    let kept: Vec<_> = logs.map(|(_, it)| &it["Properties"]["RetentionInDays"]).collect();
    assert_eq!(kept, ["LogRetentionDays", "LogRetentionDays"]);
}

/// Emails are sent in order, so an email that keeps failing blocks the rest. Lambda retries it for a day and then gives
/// up; alarms report both the failures and the loss.
#[test]
fn no_email_is_lost_silently() {
    let resources = resources();
    let (mailer, source) = (&resources["MailerFunction"], &resources["MailerSource"]);
    let source = &source["Properties"];
    let (timeout, batch) = (&mailer["Properties"]["Timeout"], &source["BatchSize"]);
    let needed = batch.as_u64().unwrap() * mailer::MAIL_DEADLINE.as_secs();
    assert!(timeout.as_u64().unwrap() > needed, "{timeout} s for {needed} s");
    // After a day, an email is no longer useful.
    assert_eq!(source["MaximumRecordAgeInSeconds"], 24 * 60 * 60);
    assert_eq!(source["FunctionResponseTypes"], serde_json::json!(["ReportBatchItemFailures"]));
    let queue = source["DestinationConfig"]["OnFailure"]["Destination"].as_str().unwrap();
    let queue = queue.strip_suffix(".Arn").unwrap();
    assert_eq!(resources[queue]["Type"], "AWS::SQS::Queue");
    let watched: BTreeSet<_> = alarms()
        .values()
        .flat_map(|alarm| watched_metrics(alarm).into_iter().cloned().collect::<Vec<_>>())
        .map(|metric| {
            let value = metric["Dimensions"][0]["Value"].as_str().unwrap_or_default().to_owned();
            (metric["MetricName"].as_str().unwrap().to_owned(), value)
        })
        .collect();
    for (metric, of) in [
        ("Errors", "MailerFunction".to_owned()),
        ("IteratorAge", "MailerFunction".to_owned()),
        ("ApproximateNumberOfMessagesVisible", format!("{queue}.QueueName")),
    ] {
        assert!(watched.contains(&(metric.to_owned(), of)), "{metric}: {watched:?}");
    }
}

/// Users can reset a forgotten password on the day of the first deployment, before the owner has any pages.
#[test]
fn without_a_base_links_in_mails_lead_to_the_address_of_the_api() {
    let text = fs::read_to_string(Project::here().template()).unwrap();
    let template: Value = serde_saphyr::from_str(&text).unwrap();
    let mailer = &template["Resources"]["MailerFunction"]["Properties"];
    let base = &mailer["Environment"]["Variables"]["MAIL_LINK_BASE"];
    let address = &template["Outputs"]["ApiUrl"]["Value"];
    assert_eq!(*base, serde_json::json!(["HasMailLinkBase", "MailLinkBase", address]));
    // The parsed values contain no YAML tags, so compare the text too.
    let (_, address) = text.split_once("\n  ApiUrl:\n").unwrap();
    let (_, address) = address.split_once("    Value: ").unwrap();
    let base = format!(
        "          MAIL_LINK_BASE: !If\n            - HasMailLinkBase\n            - !Ref MailLinkBase\n            - {}\n",
        address.lines().next().unwrap()
    );
    assert!(text.contains(&base), "{base}");
    let condition = "\n  HasMailLinkBase: !Not [!Equals [!Ref MailLinkBase, \"\"]]\n";
    assert!(text.contains(condition), "{condition}");
    assert_eq!(template["Rules"].get("MailHasLinks"), None);
}

/// API Gateway waits 30 s for a route and 10 s for an authorizer ("Quotas for configuring and running an HTTP
/// API"). A function cancels its calls 2 s before its timeout, and one complete call must fit before that moment.
#[test]
fn timeouts_are_within_the_limits_of_api_gateway_and_allow_one_complete_call() {
    let template = fs::read_to_string(Project::here().template()).unwrap();
    let template: Value = serde_saphyr::from_str(&template).unwrap();
    let default = &template["Globals"]["Function"]["Timeout"];
    for (id, resource) in resources() {
        if resource["Type"] != "AWS::Serverless::Function" {
            continue;
        }
        let timeout = resource["Properties"].get("Timeout").unwrap_or(default).as_u64().unwrap();
        let events = resource["Properties"]["Events"].as_object();
        let is_route = events.is_some_and(|it| it.values().any(|it| it["Type"] == "HttpApi"));
        assert!(!is_route || timeout < 30, "{id}: {timeout} s");
        assert!(id != "AuthorizerFunction" || timeout < 10, "{timeout} s");
        let calls = std::time::Duration::from_secs(timeout - 2);
        assert!(calls > dynamo::OPERATION_DEADLINE, "{id}: {timeout} s");
    }
}

/// Argon2 needs a full vCPU, which Lambda assigns at 1,769 MB. Other functions mostly wait for services.
#[test]
fn only_functions_that_hash_have_a_full_vcpu_and_reserved_concurrency() {
    for (id, resource) in resources() {
        if resource["Type"] != "AWS::Serverless::Function" {
            continue;
        }
        let folder = resource["Properties"]["CodeUri"].as_str().unwrap();
        let manifest = Project::here().root().join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let (dependencies, _) =
            manifest.split_once("[dev-dependencies]").unwrap_or((&manifest, ""));
        let hashes = ["passwords.workspace", "credentials.workspace"]
            .iter()
            .any(|dependency| dependencies.contains(dependency));
        let properties = &resource["Properties"];
        let (memory, reserved) =
            (&properties["MemorySize"], &properties["ReservedConcurrentExecutions"]);
        assert_eq!(*memory == 1769, hashes, "{id}");
        assert_eq!(!reserved.is_null(), hashes, "{id}");
    }
}

/// API Gateway answers preflights itself, and allows only the configured methods. A browser sends no
/// preflight for HEAD (Fetch Standard, "CORS-safelisted method").
#[test]
fn cors_allows_the_methods_of_all_routes() {
    let resources = resources();
    let cors = &resources["Api"]["Properties"]["CorsConfiguration"][1];
    assert!(cors.get("AllowCredentials").is_none());
    let allowed: Vec<_> = cors["AllowMethods"].as_array().unwrap().iter().collect();
    let events = resources.values().filter_map(|it| it["Properties"]["Events"].as_object());
    let methods = events.flat_map(|events| events.values().map(|it| &it["Properties"]["Method"]));
    let used: Vec<_> = methods.filter(|method| !method.is_null()).collect();
    assert!(!used.is_empty());
    assert!(used.iter().all(|method| allowed.contains(method) || **method == "HEAD"), "{used:?}");
}
