//! The test bench: a secret with private keys, a table with public keys, and assertions about the invariants of both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use auth::{TokenRules, Verifier};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use issuer::SigningKeys;
use jiff::{SignedDuration, Timestamp};
use keys::{KeyState, KeysTable, Record, TableKeys};
use process::{Clock, SystemRandom};
use rotation::{Plan, Rotation, RotationError, Step};
use secrets::{Secret, Version, Versions};
use serde_json::Value;
use testkit::{AUDIENCE, Faults, Forge, ISSUER, SecretsManager, Stack, TestClock};

/// How long a key must have been published before it signs. Functions use a key set for `KEYS_CACHE_SECONDS`, and for
/// as long again while they cannot read a newer one. Clients then cache the set for `JWKS_MAX_AGE_SECONDS`.
pub(crate) const LEAD: SignedDuration = SignedDuration::from_secs(300 + 300 + 600);

/// The four steps, in order.
pub(crate) const STEPS: [Step; 4] =
    [Step::CreateSecret, Step::SetSecret, Step::TestSecret, Step::FinishSecret];

/// Creates a `ClientRequestToken` as Secrets Manager does: a UUID.
pub(crate) fn token(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

pub(crate) fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(crate) struct Bench {
    pub(crate) stack: Stack,
    clock: TestClock,
    client: Client,
    place: Place,
}

/// Where the secret is stored: in a file, or in an emulated Secrets Manager.
enum Place {
    File,
    Manager { manager: SecretsManager, arn: String },
}

impl Bench {
    /// Starts without keys, with the secret in a file.
    pub(crate) async fn new() -> Self {
        Self::at(Place::File).await
    }

    /// Starts without keys, with the secret in an emulated Secrets Manager. `value` is the secret's first version.
    pub(crate) async fn with_manager(value: Option<&str>) -> Self {
        let manager = SecretsManager::start().await;
        let arn = manager.create("SigningKeys", value).await;
        Self::at(Place::Manager { manager, arn }).await
    }

    async fn at(place: Place) -> Self {
        let stack = Stack::start().await;
        let (clock, client) = (TestClock::default(), stack.client());
        let bench = Self { stack, clock, client, place };
        bench.forget().await;
        bench
    }

    /// Starts after a first rotation, when the next key may sign.
    pub(crate) async fn rotated() -> Self {
        let bench = Self::new().await;
        bench.begin_anew().await;
        bench
    }

    /// Forgets all keys, performs a first rotation, and waits until the next key may sign.
    pub(crate) async fn begin_anew(&self) {
        self.forget().await;
        self.rotate(&Plan::Rotate).await.unwrap();
        self.wait(LEAD);
    }

    /// Deletes the files of the secret and clears the table. Leaves Secrets Manager unchanged.
    pub(crate) async fn forget(&self) {
        self.forget_table().await;
        for file in files(&self.folder()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name.starts_with("signing-keys") {
                std::fs::remove_file(&file).unwrap();
            }
        }
    }

    /// Clears the table.
    pub(crate) async fn forget_table(&self) {
        let key = AttributeValue::S("KEY_SET".to_owned());
        let delete = self.client.delete_item().table_name("KeysTable").key("pk", key);
        delete.send().await.unwrap();
    }

    pub(crate) fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn wait(&self, time: SignedDuration) {
        self.clock.advance(time);
    }

    pub(crate) fn manager(&self) -> (&SecretsManager, &str) {
        match &self.place {
            Place::Manager { manager, arn } => (manager, arn),
            Place::File => panic!("the secret is in a file"),
        }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.stack.signing_keys().parent().unwrap().to_owned()
    }

    pub(crate) fn versions(&self) -> Versions {
        self.versions_with(&Faults::script(&[]))
    }

    fn versions_with(&self, faults: &Faults) -> Versions {
        Versions::of(match &self.place {
            Place::File => Secret::new(&secrets::Config::file(self.stack.signing_keys())),
            Place::Manager { manager, arn } => {
                Secret::with_client(arn, manager.faulty_client(faults))
            }
        })
    }

    pub(crate) fn table(&self) -> KeysTable {
        KeysTable::new("KeysTable", self.client.clone())
    }

    pub(crate) fn rotation(&self) -> Rotation {
        self.rotation_of(self.versions(), self.table())
    }

    /// A rotation whose requests all pass through `faults`.
    pub(crate) fn rotation_with(&self, faults: &Faults) -> Rotation {
        let table = KeysTable::new("KeysTable", self.stack.faulty_client(faults));
        self.rotation_of(self.versions_with(faults), table)
    }

    fn rotation_of(&self, versions: Versions, table: KeysTable) -> Rotation {
        let config = self.stack.env().settings::<rotation::Config>().unwrap();
        let (clock, random) = (Arc::new(self.clock()), Arc::new(SystemRandom));
        Rotation::new(config, versions, table, clock, random)
    }

    pub(crate) async fn rotate(&self, plan: &Plan) -> Result<(), RotationError> {
        self.rotation().perform(plan).await
    }

    /// Attempts a rotation, which must be refused as too early, and returns the earliest time that the error permits.
    pub(crate) async fn refused_until(&self) -> Timestamp {
        match self.rotate(&Plan::Rotate).await {
            Err(RotationError::TooEarly { at }) => at,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn version(&self) -> Version {
        self.versions().secret().current().await.unwrap()
    }

    pub(crate) async fn current(&self) -> SigningKeys {
        self.version().await.value.parse().unwrap()
    }

    pub(crate) async fn record(&self) -> Record {
        self.table().record().await.unwrap()
    }

    /// The published keys with their states.
    pub(crate) async fn states(&self) -> BTreeMap<String, KeyState> {
        let record = self.record().await;
        let public = record.keys.iter().filter(|key| key.is_public(self.now()));
        public.map(|key| (key.kid().to_owned(), key.state)).collect()
    }

    /// Signs a token with the current active key.
    pub(crate) async fn sign(&self) -> String {
        sign(&self.current().await, self.now())
    }

    /// Whether `token` is accepted by a verifier that reads the set now.
    pub(crate) async fn accepts(&self, token: &str) -> bool {
        let clock: Arc<dyn Clock> = Arc::new(self.clock());
        let config = self.stack.env().settings::<keys::Config>().unwrap();
        let keys = TableKeys::open(&config, self.client.clone(), Arc::clone(&clock)).await;
        let verifier = Verifier::new(TokenRules::new(ISSUER, AUDIENCE), keys, clock);
        verifier.verify(token).await.is_ok()
    }

    /// Everything that can still be read: every file in the secret's folder, or every version with a label.
    pub(crate) async fn stored(&self) -> BTreeMap<String, String> {
        match &self.place {
            Place::File => {
                let text = |path: &Path| std::fs::read_to_string(path).unwrap();
                let name = |path: &Path| path.display().to_string();
                files(&self.folder()).iter().map(|path| (name(path), text(path))).collect()
            }
            Place::Manager { manager, arn } => labeled(manager, arn).await,
        }
    }

    /// Asserts that no stored file or version contains the private half of a key.
    pub(crate) async fn assert_not_stored(&self, private: &str) {
        for (name, text) in self.stored().await {
            assert!(!text.contains(private), "a private half is in {name}");
        }
    }

    /// Asserts the invariants that hold even during a rotation: verifiers know the active and the next key, and
    /// exactly one key is active.
    pub(crate) async fn assert_usable(&self) {
        let (keys, record) = (self.current().await, self.record().await);
        assert_eq!(keys.kids().count(), 2, "{keys:?}");
        let published = record.published(self.now()).unwrap().set;
        for (jwk, _) in keys.public() {
            assert!(published.as_jwks().keys.contains(&jwk), "{keys:?} {record:?}");
        }
        let active = record.keys.iter().filter(|key| key.state == KeyState::Active);
        assert_eq!(active.count(), 1, "{record:?}");
    }

    /// Asserts the invariants that hold while no rotation is in progress: the published set matches the version in use,
    /// every retired key has an end of publication, and its private half is gone.
    pub(crate) async fn assert_settled(&self) {
        self.assert_usable().await;
        let (version, keys) = (self.version().await, self.current().await);
        let (record, states) = (self.record().await, self.states().await);
        assert_eq!(record.version, version.id);
        assert!(self.accepts(&self.sign().await).await);
        assert_eq!(states[keys.active().unwrap().kid()], KeyState::Active);
        assert_eq!(states[keys.next_kid().unwrap()], KeyState::Next);
        for key in &record.keys {
            let in_use = keys.kids().any(|kid| kid == key.kid());
            assert_eq!(key.state == KeyState::Retired, !in_use, "{key:?}");
            assert_eq!(key.not_after.is_some(), !in_use, "{key:?}");
        }
    }
}

/// Signs a token with the active key of `keys` at `now`.
pub(crate) fn sign(keys: &SigningKeys, now: Timestamp) -> String {
    let forge = Forge::of(keys.clone());
    forge.sign(&forge.header(), &Forge::claims(now, &identity::Roles::default()))
}

/// The private halves by key id.
pub(crate) fn private_halves(keys: &SigningKeys) -> BTreeMap<String, String> {
    let keys: Value = serde_json::from_str(&keys.to_json()).unwrap();
    let member = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let all = keys["keys"].as_array().unwrap().iter();
    all.map(|key| (member(key, "kid"), member(key, "d"))).collect()
}

/// The id of the key that signs, and its private half.
pub(crate) fn active(keys: &SigningKeys) -> (String, String) {
    let kid = keys.active().unwrap().kid().to_owned();
    let private = private_halves(keys)[&kid].clone();
    (kid, private)
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The values of all versions with a label, by their labels.
async fn labeled(manager: &SecretsManager, arn: &str) -> BTreeMap<String, String> {
    let described = manager.client().describe_secret().secret_id(arn).send().await.unwrap();
    let mut values = BTreeMap::new();
    for (id, labels) in described.version_ids_to_stages.unwrap() {
        let read = manager.client().get_secret_value().secret_id(arn).version_id(&id);
        let value = read.send().await.unwrap().secret_string.unwrap();
        values.insert(format!("{id} {labels:?}"), value);
    }
    values
}
