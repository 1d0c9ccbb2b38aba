//! A deployed stack: finds its tables and secrets in the outputs that `CloudFormation` reports.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudformation::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudformation::error::{BoxError, DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_cloudformation::types::Stack;
use dynamo::OPERATION_DEADLINE;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use keys::KeysTable;
use local::local_secrets::StackSecrets;
use process::{Clock, Env, SystemClock};
use secrets::{Secret, Versions};
use template::ui;

use crate::tables::Tables;

/// The stack parameters that commands need, each with the setting that it determines.
const SETTINGS: [(&str, &str); 9] = [
    ("EventRetentionDays", "EVENT_RETENTION_DAYS"),
    ("SigningAlgorithm", "SIGNING_ALGORITHM"),
    ("SessionIdleSeconds", "SESSION_IDLE_SECONDS"),
    ("SessionAbsoluteSeconds", "SESSION_ABSOLUTE_SECONDS"),
    ("NameQuarantineDays", "NAME_QUARANTINE_DAYS"),
    ("EmailVerification", "EMAIL_VERIFICATION"),
    ("PasswordMinChars", "PASSWORD_MIN_CHARS"),
    ("BreachedPasswordsFilter", BREACHED_FILTER),
    ("CommonPasswordsFile", COMMON_FILE),
];

/// The settings that name a file in the functions' layer.
const BREACHED_FILTER: &str = "PASSWORD_BREACHED_FILTER";
const COMMON_FILE: &str = "PASSWORD_COMMON_FILE";

/// The options that choose a deployed stack.
#[derive(Clone, Debug, clap::Args)]
pub struct StackArguments {
    /// Use the deployed stack with this name instead of a local database, with the credentials that
    /// the AWS CLI would use
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,

    /// AWS region of the stack [default: the region of the environment or the profile]
    #[arg(long, requires = "stack")]
    region: Option<String>,

    /// Profile of the AWS CLI
    #[arg(long, requires = "stack", value_name = "NAME")]
    profile: Option<String>,
}

/// A deployed stack with its outputs and settings.
pub(crate) struct DeployedStack {
    config: SdkConfig,
    outputs: Outputs,
    settings: Env,
    clock: Arc<ServiceClock>,
}

/// AWS's clock, which the functions of the stack use. It is this machine's clock, corrected by the measured difference.
#[derive(Clone, Copy, Debug)]
struct ServiceClock {
    ahead: SignedDuration,
}

impl ServiceClock {
    /// Computes the service's clock from the `Date` of a response that arrived when this machine's clock read `here`.
    fn of(date: &str, here: Timestamp) -> Option<Self> {
        let there = DateTimeParser::new().parse_timestamp(date).ok()?;
        // `Date` has no fraction of a second, so it may be up to a second behind. Add a second, because being ahead is
        // safer: a session that began before `end-all` must not seem to have begun after it.
        let there = there.checked_add(SignedDuration::from_secs(1)).ok()?;
        Some(Self { ahead: there.duration_since(here) })
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        let here = SystemClock.now();
        here.checked_add(self.ahead).unwrap_or(here)
    }
}

/// Reads the clock of the service from its first response.
#[derive(Clone, Debug, Default)]
struct ReadClock(Arc<OnceLock<ServiceClock>>);

impl Intercept for ReadClock {
    fn name(&self) -> &'static str {
        "ReadClock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(clock) = date.and_then(|date| ServiceClock::of(date, SystemClock.now())) {
            self.0.get_or_init(|| clock);
        }
        Ok(())
    }
}

impl StackArguments {
    /// Finds the stack and prints its name. Returns `None` if the user named no stack.
    ///
    /// # Errors
    /// When the stack does not exist or cannot be queried. The message is one line.
    pub(crate) async fn find(&self) -> anyhow::Result<Option<DeployedStack>> {
        let Some(name) = &self.stack else { return Ok(None) };
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let Some(region) = config.region() else {
            bail!("the AWS region is not set: use --region or AWS_REGION");
        };
        let client = aws_sdk_cloudformation::Client::new(&config);
        let clock = ReadClock::default();
        let described = client.describe_stacks().stack_name(name).customize();
        let described = match described.interceptor(clock.clone()).send().await {
            Ok(described) => described,
            // CloudFormation has no specific error code for a missing stack.
            Err(error) if error.code() == Some("ValidationError") => {
                bail!("{region}: {}", error.message().unwrap_or("there is no such stack"));
            }
            Err(error) => {
                bail!("cannot describe the stack {name}: {}", DisplayErrorContext(&error))
            }
        };
        let stack = described.stacks().first();
        let stack = stack.with_context(|| format!("{region}: there is no stack {name}"))?;
        // arn:aws:cloudformation:eu-central-1:123456789012:stack/name/id
        let account = stack.stack_id().and_then(|arn| arn.split(':').nth(4)).unwrap_or("?");
        ui::note(format_args!("using the stack {name} in {region}, account {account}"));
        let clock = clock.0.get().context("AWS did not report the time")?;
        Ok(Some(DeployedStack {
            config,
            outputs: Outputs::of(name, stack),
            settings: settings(stack, &Env::of_process()),
            clock: Arc::new(*clock),
        }))
    }
}

impl DeployedStack {
    /// The settings of the stack's functions.
    pub(crate) fn settings(&self) -> &Env {
        &self.settings
    }

    /// The stack's tables and secrets.
    ///
    /// # Errors
    /// When the stack is not a Latchkey stack. The message is one line.
    pub(crate) fn tables(&self) -> anyhow::Result<Tables> {
        let builder = dynamo::deadlines((&self.config).into(), OPERATION_DEADLINE);
        let client = dynamo::Client::from_conf(builder.build());
        let manager = secrets::Client::new(&self.config);
        let secret = |output| {
            let id = self.outputs.get(output)?;
            anyhow::Ok(Versions::of(Secret::with_client(id, manager.clone())))
        };
        Ok(Tables {
            users: store::Config::new(self.outputs.get("UsersTableName")?)
                .keeping(self.settings.settings()?),
            keys: KeysTable::new(self.outputs.get("KeysTableName")?, client.clone()),
            secrets: StackSecrets {
                signing_keys: secret("SigningKeysSecret")?,
                peppers: secret("PeppersSecret")?,
                clock: self.clock.clone(),
            },
            client,
            env: self.settings.clone(),
            clock: self.clock.clone(),
            _embedded: None,
        })
    }
}

/// The outputs of a stack.
struct Outputs {
    stack: String,
    values: BTreeMap<String, String>,
}

impl Outputs {
    fn of(name: &str, stack: &Stack) -> Self {
        let values = stack.outputs().iter().filter_map(|output| {
            Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()))
        });
        Self { stack: name.to_owned(), values: values.collect() }
    }

    fn get(&self, output: &str) -> anyhow::Result<&str> {
        self.values.get(output).map(String::as_str).with_context(|| {
            let stack = &self.stack;
            format!(
                "the stack {stack} has no output {output}: it is not a Latchkey stack, or its \
                 deployment is incomplete"
            )
        })
    }
}

/// The settings of the stack. Its layer is not on this machine, so `local` names local copies of the layer's files.
fn settings(stack: &Stack, local: &Env) -> Env {
    let value = |name: &str| {
        let mut parameters = stack.parameters().iter();
        let parameter = parameters.find(|it| it.parameter_key() == Some(name));
        parameter?.parameter_value().map(str::to_owned)
    };
    let copy = |name| local.read(|reader| reader.maybe::<String>(name)).ok().flatten();
    let setting = |&(parameter, name): &(&str, &'static str)| {
        let value = value(parameter)?;
        let in_layer = [BREACHED_FILTER, COMMON_FILE].contains(&name) && !value.is_empty();
        Some((name, if in_layer { copy(name).unwrap_or(value) } else { value }))
    };
    SETTINGS.iter().filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::{Output, Parameter};

    use super::*;

    fn stack() -> Stack {
        let output =
            |key: &str, value: &str| Output::builder().output_key(key).output_value(value).build();
        let parameter = |key: &str, value: &str| {
            Parameter::builder().parameter_key(key).parameter_value(value).build()
        };
        Stack::builder()
            .outputs(output("UsersTableName", "users"))
            .parameters(parameter("SigningAlgorithm", "ES256"))
            .parameters(parameter("Issuer", "https://example.com"))
            .parameters(parameter("PasswordMinChars", "12"))
            .parameters(parameter("CommonPasswordsFile", "/opt/common-passwords.txt"))
            .parameters(parameter("BreachedPasswordsFilter", ""))
            .build()
    }

    #[test]
    fn a_missing_output_is_named() {
        let outputs = Outputs::of("mine", &stack());
        assert_eq!(outputs.get("UsersTableName").unwrap(), "users");
        let error = outputs.get("KeysTableName").unwrap_err().to_string();
        assert!(error.contains("mine") && error.contains("KeysTableName"), "{error}");
    }

    #[test]
    fn settings_come_from_the_parameters_of_the_stack() {
        let local =
            Env::from_iter([("PASSWORD_MIN_CHARS", "8"), (COMMON_FILE, "/home/common.txt")]);
        let settings = settings(&stack(), &local);
        let algorithm = settings.read(|reader| reader.required::<String>("SIGNING_ALGORITHM"));
        assert_eq!(algorithm.unwrap(), "ES256");
        assert!(settings.read(|reader| reader.required::<String>("ISSUER")).is_err());
        let text = |name| settings.read(|reader| reader.maybe::<String>(name)).unwrap();
        assert_eq!(text("PASSWORD_MIN_CHARS").as_deref(), Some("12"));
        // The local copy replaces the file in the layer, but only if the stack uses that file.
        assert_eq!(text(COMMON_FILE).as_deref(), Some("/home/common.txt"));
        assert_eq!(text(BREACHED_FILTER), None);
    }

    /// If [`SETTINGS`] lacked a parameter, a command would use the default instead of the stack's value.
    #[test]
    fn every_parameter_that_a_command_needs_is_listed() {
        let template =
            std::fs::read_to_string(template::project::Project::here().template()).unwrap();
        let read = [
            "EVENT_RETENTION_DAYS",
            "SIGNING_ALGORITHM",
            "SESSION_IDLE_SECONDS",
            "SESSION_ABSOLUTE_SECONDS",
            "NAME_QUARANTINE_DAYS",
            "JWKS_MAX_AGE_SECONDS",
            "KEYS_CACHE_SECONDS",
            "SECRETS_CACHE_SECONDS",
            "EMAIL_VERIFICATION",
            "PASSWORD_MIN_CHARS",
            BREACHED_FILTER,
            COMMON_FILE,
        ];
        let mut found = 0;
        for line in template.lines() {
            if let Some((name, parameter)) = line.trim().split_once(": !Ref ")
                && read.contains(&name)
            {
                assert!(
                    SETTINGS.contains(&(parameter, name)),
                    "{name} is set by {parameter}: add the pair to SETTINGS"
                );
                found += 1;
            }
        }
        assert!(found >= SETTINGS.len());
    }

    #[test]
    fn the_clock_follows_the_date_of_the_service() {
        let here: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        for (date, ahead) in [
            ("Fri, 27 Nov 2026 12:00:00 GMT", 1),
            ("Fri, 27 Nov 2026 11:00:00 GMT", 1 - 3_600),
            ("Sat, 28 Nov 2026 12:00:00 GMT", 1 + 86_400),
        ] {
            let clock = ServiceClock::of(date, here).unwrap();
            assert_eq!(clock.ahead, SignedDuration::from_secs(ahead), "{date}");
        }
        assert!(ServiceClock::of("yesterday", here).is_none());
    }
}
