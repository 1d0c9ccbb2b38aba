//! The deployed stack, as its users and operator reach it.

use std::collections::BTreeMap;
use std::ops::Deref;

use issuer::SigningKeys;
use serde::Deserialize;
use serde_json::Value;
use testkit::{Forge, Received};

use super::account::AwsAccount;
use crate::journeys::{Api, RunningApi};

/// A deployed stack in an account.
pub(crate) struct Deployed<'a> {
    account: &'a AwsAccount,
    api: Api,
    outputs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    output_key: String,
    output_value: String,
}

impl<'a> Deployed<'a> {
    /// The stack named by the shell variable `STACK`.
    pub(crate) fn of(account: &'a AwsAccount) -> Self {
        let outputs = account.output(
            "aws cloudformation describe-stacks --stack-name $STACK --query Stacks[0].Outputs",
        );
        let outputs: Vec<Output> = serde_json::from_str(&outputs).unwrap();
        let outputs: BTreeMap<_, _> =
            outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect();
        let host = outputs["ApiUrl"].strip_prefix("https://").unwrap();
        let (host, _) = host.split_once(':').unwrap();
        Self { account, api: Api::by_host(account.url(), host), outputs }
    }

    /// The value of an output of the stack.
    pub(crate) fn output(&self, name: &str) -> &str {
        &self.outputs[name]
    }

    pub(crate) fn account(&self) -> &AwsAccount {
        self.account
    }

    /// The number of items in the users table.
    pub(crate) fn user_items(&self) -> usize {
        let table = &self.outputs["UsersTableName"];
        let count = self.account.output(&format!(
            "aws dynamodb scan --table-name {table} --select COUNT --consistent-read --query Count",
        ));
        count.trim().parse().unwrap()
    }
}

impl Deref for Deployed<'_> {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl RunningApi for Deployed<'_> {
    fn administer(&self, arguments: &[&str]) {
        let arguments = arguments.join(" ");
        self.account.shell(&format!("cargo xtask admin {arguments} --stack $STACK"), "");
    }

    fn forge(&self) -> Forge {
        let secret = &self.outputs["SigningKeysSecret"];
        let keys = self.account.output(&format!(
            "aws secretsmanager get-secret-value --secret-id {secret} --query SecretString \
             --output text",
        ));
        let keys: SigningKeys = keys.parse().unwrap();
        Forge::of(keys).with_rules(&self.outputs["ApiUrl"], "latchkey")
    }

    async fn mails(&self) -> Vec<Received> {
        let sent = reqwest::get(format!("{}/_ministack/ses/messages", self.account.url())).await;
        let sent: Value = sent.unwrap().json().await.unwrap();
        let accounts = sent["messages"].as_object().unwrap().values();
        let text = |mail: &Value, name: &str| mail[name].as_str().unwrap().to_owned();
        accounts
            .flat_map(|mails| mails.as_array().unwrap())
            .map(|mail| Received {
                id: text(mail, "MessageId"),
                to: mail["To"][0].as_str().unwrap().to_owned(),
                from: text(mail, "Source"),
                subject: text(mail, "Subject"),
                text: text(mail, "BodyText"),
                html: text(mail, "BodyHtml"),
            })
            .collect()
    }

    fn address(&self) -> &str {
        self.output("ApiUrl")
    }

    fn sender(&self) -> &'static str {
        "\"Latchkey\" <no-reply@example.com>"
    }
}
