//! A deployed stack: its tables and secrets, by the outputs that CloudFormation tells.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use auth::Env;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_cloudformation::types::Stack;
use dynamo::OPERATION_DEADLINE;
use keys::KeysTable;
use secrets::{Secret, Versions};

use crate::local_secrets::StackSecrets;
use crate::target::Tables;
use crate::ui;

/// Settings that a command needs, by the parameters that functions get them from.
const SETTINGS: [(&str, &str); 3] = [
    ("SigningAlgorithm", "SIGNING_ALGORITHM"),
    ("SessionIdleSeconds", "SESSION_IDLE_SECONDS"),
    ("SessionAbsoluteSeconds", "SESSION_ABSOLUTE_SECONDS"),
];

/// Which deployed stack, if any.
#[derive(Clone, Debug, clap::Args)]
pub struct StackArguments {
    /// The deployed stack of this name, instead of a database on this machine. Credentials are taken
    /// as the AWS command line takes them
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,

    /// Region of the stack, unless it is by environment or profile
    #[arg(long, requires = "stack")]
    region: Option<String>,

    /// Profile of the AWS command line
    #[arg(long, requires = "stack", value_name = "NAME")]
    profile: Option<String>,
}

/// A stack that there is.
pub(crate) struct DeployedStack {
    config: SdkConfig,
    outputs: Outputs,
    settings: Env,
}

impl StackArguments {
    /// The stack; `None` when none was named. Says which it is.
    ///
    /// # Errors
    /// When there is none, or it cannot be asked for. In one line.
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
            bail!("no region: name it by --region, or by AWS_REGION");
        };
        let client = aws_sdk_cloudformation::Client::new(&config);
        let described = match client.describe_stacks().stack_name(name).send().await {
            Ok(described) => described,
            // There is no code of its own for this.
            Err(error) if error.code() == Some("ValidationError") => {
                bail!("{region}: {}", error.message().unwrap_or("there is no such stack"));
            }
            Err(error) => {
                bail!("cannot ask for the stack {name}: {}", DisplayErrorContext(&error))
            }
        };
        let stack = described.stacks().first();
        let stack = stack.with_context(|| format!("{region}: there is no stack {name}"))?;
        // arn:aws:cloudformation:eu-central-1:123456789012:stack/name/id
        let account = stack.stack_id().and_then(|arn| arn.split(':').nth(4)).unwrap_or("?");
        ui::note(format_args!("the stack {name} in {region} of the account {account}"));
        let (outputs, settings) = (Outputs::of(name, stack), settings(stack));
        Ok(Some(DeployedStack { config, outputs, settings }))
    }
}

impl DeployedStack {
    /// Its tables and secrets.
    ///
    /// # Errors
    /// When it is not a stack of ours. In one line.
    pub(crate) fn tables(&self) -> anyhow::Result<Tables> {
        let builder = dynamo::deadlines((&self.config).into(), OPERATION_DEADLINE);
        let client = dynamo::Client::from_conf(builder.build());
        let manager = secrets::Client::new(&self.config);
        let secret = |output| {
            let id = self.outputs.get(output)?;
            anyhow::Ok(Versions::of(Secret::with_client(id, manager.clone())))
        };
        Ok(Tables {
            users: store::Config::new(self.outputs.get("UsersTableName")?),
            keys: KeysTable::new(self.outputs.get("KeysTableName")?, client.clone()),
            secrets: StackSecrets {
                signing_keys: secret("SigningKeysSecret")?,
                peppers: secret("PeppersSecret")?,
            },
            client,
            env: self.settings.clone(),
            _resting: None,
        })
    }
}

/// What a stack tells of itself.
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
            format!("the stack {stack} has no output {output}: it is not one of Latchkey's, or is not deployed yet")
        })
    }
}

fn settings(stack: &Stack) -> Env {
    let value = |name| {
        let mut parameters = stack.parameters().iter();
        parameters.find(|it| it.parameter_key() == Some(name))?.parameter_value()
    };
    SETTINGS.iter().filter_map(|(parameter, name)| Some((*name, value(parameter)?))).collect()
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
    fn settings_are_those_of_its_parameters() {
        let settings = settings(&stack());
        let algorithm = settings.read(|reader| reader.required::<String>("SIGNING_ALGORITHM"));
        assert_eq!(algorithm.unwrap(), "ES256");
        assert!(settings.read(|reader| reader.required::<String>("ISSUER")).is_err());
    }
}
