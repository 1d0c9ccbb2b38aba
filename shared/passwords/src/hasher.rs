//! Hashes and verifies passwords, reusing the memory for the computation.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use argon2::password_hash::phc::{Output, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use process::{Metric, Random};

use crate::cost::{OUTPUT_OCTETS, PARAMS, SALT_OCTETS};
use crate::hash::{Argon2id, Kind};
use crate::{HashError, Password, PasswordHash};

/// Hashes passwords with argon2id and verifies them, one at a time, on a separate thread. Clones share the memory.
#[derive(Clone)]
pub struct Hasher {
    memory: Arc<Mutex<Memory>>,
    /// The hash against which the password of an unknown user is verified. It costs as much as a new hash.
    dummy: PasswordHash,
}

/// The blocks that argon2 fills, kept between invocations: with newly allocated pages, a hash takes up to 70% longer.
///
/// The blocks are not wiped between hashes. Their content is derived from a password, but an attacker who can read
/// this process's memory can also read the next password itself. The next hash overwrites the whole content. Wiping
/// would take 2.5 million stores, but a login may cost at most 1% (1.2 million instructions) more than the hash alone.
struct Memory(Vec<Block>);

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The password matches the hash.
    Right,
    /// The password does not match the hash, or the user does not exist.
    Wrong,
}

impl Hasher {
    /// Allocates 19 MiB of memory and touches every page of it. Call this once, at the cold start, when Lambda gives a
    /// function more processor time than during a request. The first login then does not have to wait for the memory.
    ///
    /// # Panics
    /// Never, because the parameters are constants, and a test uses them.
    #[must_use]
    pub fn new() -> Self {
        let salt = Salt::new(&[0; SALT_OCTETS]).expect("a salt of 16 octets is within bounds");
        let output = Output::new(&[0; OUTPUT_OCTETS]).expect("32 octets are within bounds");
        let dummy =
            PasswordHash::new(PARAMS, salt, output).expect("the parameters can be written as text");
        Self {
            memory: Arc::new(Mutex::new(Memory(vec![Block::new(); PARAMS.block_count()]))),
            dummy,
        }
    }

    /// Hashes a password with a new salt. Call this within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime is shutting down ([`HashError::Failed`]).
    pub async fn hash(
        &self,
        password: &Password,
        random: &dyn Random,
    ) -> Result<PasswordHash, HashError> {
        let mut salt = [0; SALT_OCTETS];
        random.fill(&mut salt);
        let salt = Salt::new(&salt).map_err(|_| HashError::Failed)?;
        let output = self.compute(password, PARAMS, salt, OUTPUT_OCTETS).await?;
        PasswordHash::new(PARAMS, salt, output)
    }

    /// Verifies a password against an account's hash. `None` means that the account does not exist: the result
    /// is [`Verdict::Wrong`] after the same work, so that the time does not reveal which names exist (OWASP
    /// ASVS 6.3.8). Call this within a Tokio runtime.
    ///
    /// # Errors
    /// When the runtime is shutting down ([`HashError::Failed`]).
    pub async fn verify(
        &self,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Result<Verdict, HashError> {
        let equal = match &hash.unwrap_or(&self.dummy).kind {
            Kind::Argon2id(Argon2id { params, salt, output }) => {
                let octets = output.len();
                let computed = self.compute(password, params.clone(), *salt, octets).await?;
                // This comparison takes constant time, and is made even if the account does not exist.
                computed == *output
            }
            Kind::Foreign(foreign) => {
                let (foreign, password) = (foreign.clone(), password.share());
                tokio::task::spawn_blocking(move || measured(|| foreign.verify(&password)))
                    .await
                    .map_err(|_| HashError::Failed)??
            }
        };
        Ok(if equal && hash.is_some() { Verdict::Right } else { Verdict::Wrong })
    }

    /// Computes a hash on a thread that may block. If the future is dropped, the computation still finishes, and the
    /// next computation waits for the memory.
    async fn compute(
        &self,
        password: &Password,
        params: Params,
        salt: Salt,
        octets: usize,
    ) -> Result<Output, HashError> {
        let (memory, password) = (Arc::clone(&self.memory), password.share());
        tokio::task::spawn_blocking(move || {
            // If an earlier computation panicked, its leftover blocks are overwritten now.
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            measured(|| memory.argon2id(&password, params, &salt, octets))
        })
        .await
        .map_err(|_| HashError::Failed)?
    }
}

/// Calls `hash` and records the time that it took.
fn measured<T>(hash: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = hash();
    Metric::HashTime.add(start.elapsed().as_secs_f64() * 1e3);
    result
}

impl Memory {
    fn argon2id(
        &mut self,
        password: &Password,
        params: Params,
        salt: &Salt,
        octets: usize,
    ) -> Result<Output, HashError> {
        // A stored hash may need more memory than a new one, within limits. That memory is freed afterwards.
        let mut larger = Vec::new();
        let blocks = if params.block_count() <= self.0.len() {
            &mut self.0
        } else {
            larger.resize(params.block_count(), Block::new());
            &mut larger
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = [0; Output::MAX_LENGTH];
        let output = output.get_mut(..octets).ok_or(HashError::Failed)?;
        argon2
            .hash_password_into_with_memory(password.text().as_bytes(), salt, output, blocks)
            .map_err(|_| HashError::Failed)?;
        Output::new(output).map_err(|_| HashError::Failed)
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::task::{Context, Waker};

    use identity::StoredHash;

    use super::*;

    /// Fills each buffer with a different byte, so that no two salts are equal.
    #[derive(Default)]
    struct Counting(AtomicU8);

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn password(text: &str) -> Password {
        Password::parse(text.to_owned()).unwrap()
    }

    async fn hash(hasher: &Hasher, text: &str) -> PasswordHash {
        hasher.hash(&password(text), &Counting::default()).await.unwrap()
    }

    async fn verify(hasher: &Hasher, text: &str, hash: &PasswordHash) -> Verdict {
        hasher.verify(&password(text), Some(hash)).await.unwrap()
    }

    /// Hashes from another implementation (argon2-cffi 25.1, which uses the reference implementation):
    /// `argon2.low_level.hash_secret(password, salt, time_cost=…, memory_cost=…, parallelism=…,
    /// hash_len=32, type=Type.ID, version=19)`. The first one has our parameters and the salt `somesaltsomesalt`. The
    /// second one has more memory, passes and lanes, and the salt `0123456789abcdef`.
    const FOREIGN: [(&str, &str); 2] = [
        (
            "correct horse battery staple",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA\
             $ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y",
        ),
        (
            "pässword\0🔑",
            "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg\
             $3vtzbnK3u7nbvDgosgNbzJ7gEh26Rn9C0kaWbZLF8sM",
        ),
    ];

    #[tokio::test]
    async fn hashes_from_another_implementation_are_verified() {
        let hasher = Hasher::new();
        // Verify both twice, so that a hash with more memory comes between two with the current costs.
        for (text, stored) in FOREIGN.into_iter().chain(FOREIGN) {
            let stored = PasswordHash::from_stored(&StoredHash::new(stored)).unwrap();
            assert_eq!(verify(&hasher, text, &stored).await, Verdict::Right);
            assert_eq!(verify(&hasher, &format!("{text} "), &stored).await, Verdict::Wrong);
        }
    }

    #[tokio::test]
    async fn another_implementation_computes_the_same_hash() {
        struct Fixed;
        impl Random for Fixed {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.copy_from_slice(b"somesaltsomesalt");
            }
        }
        let (text, stored) = FOREIGN[0];
        let hash = Hasher::new().hash(&password(text), &Fixed).await.unwrap();
        assert_eq!(hash.into_stored().expose(), stored);
    }

    #[tokio::test]
    async fn every_hash_has_its_own_salt() {
        let (hasher, random) = (Hasher::new(), Counting::default());
        let one = hasher.hash(&password("hunter22"), &random).await.unwrap();
        let other = hasher.hash(&password("hunter22"), &random).await.unwrap();
        assert_ne!(one.clone().into_stored(), other.clone().into_stored());
        assert_eq!(verify(&hasher, "hunter22", &one).await, Verdict::Right);
        assert_eq!(verify(&hasher, "hunter22", &other).await, Verdict::Right);
    }

    #[tokio::test]
    async fn every_character_of_a_password_matters() {
        let hasher = Hasher::new();
        let long = "x".repeat(1_000);
        for (right, wrong) in [
            // Differences after the bytes that bcrypt uses, after a NUL and at the very end.
            (format!("{}ab", "x".repeat(72)), format!("{}ac", "x".repeat(72))),
            ("x".repeat(72), "x".repeat(73)),
            (format!("{long}a"), format!("{long}b")),
            ("pass\0word".into(), "pass\0Word".into()),
            ("pass\0word".into(), "pass".into()),
            ("Correct Horse".into(), "correct horse".into()),
            ("correct horse".into(), " correct horse".into()),
            ("correct horse".into(), "correct horse ".into()),
            ("correct horse".into(), "correct  horse".into()),
            ("correct horse".into(), "correct\u{a0}horse".into()),
            ("ｐassword".into(), "password".into()),
            ("password".into(), "pass\u{200b}word".into()),
            ("straße123".into(), "strasse123".into()),
            ("something".into(), String::new()),
        ] {
            let hash = hash(&hasher, &right).await;
            assert_eq!(verify(&hasher, &right, &hash).await, Verdict::Right, "{right:?}");
            assert_eq!(verify(&hasher, &wrong, &hash).await, Verdict::Wrong, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn composed_and_decomposed_characters_are_equal() {
        let hasher = Hasher::new();
        let hash = hash(&hasher, "cafe\u{301} \u{212b}ngstro\u{308}m").await;
        let composed = "caf\u{e9} \u{c5}ngstr\u{f6}m";
        assert_eq!(verify(&hasher, composed, &hash).await, Verdict::Right);
    }

    fn parts(hash: &PasswordHash) -> Argon2id {
        match &hash.kind {
            Kind::Argon2id(parts) => parts.clone(),
            Kind::Foreign(_) => panic!("a foreign hash"),
        }
    }

    #[tokio::test]
    async fn every_password_of_an_unknown_user_is_wrong() {
        let hasher = Hasher::new();
        for text in ["", "hunter22", "\0"] {
            assert_eq!(hasher.verify(&password(text), None).await, Ok(Verdict::Wrong));
        }
        // Even a password that matches the dummy hash is wrong.
        let (x, Argon2id { salt, .. }) = (password("x"), parts(&hasher.dummy));
        let output = hasher.compute(&x, PARAMS, salt, OUTPUT_OCTETS).await.unwrap();
        let dummy = PasswordHash::new(PARAMS, salt, output).unwrap();
        let hasher = Hasher { dummy, ..hasher };
        assert_eq!(hasher.verify(&password("x"), None).await, Ok(Verdict::Wrong));
    }

    #[test]
    fn the_dummy_costs_as_much_as_a_real_hash() {
        let dummy = Hasher::new().dummy;
        let Argon2id { params, salt, output } = parts(&dummy);
        assert!(
            dummy.clone().into_stored().expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        assert_eq!((params, output.len()), (PARAMS, OUTPUT_OCTETS));
        assert_eq!(salt.len(), SALT_OCTETS);
    }

    #[tokio::test]
    async fn hashing_does_not_block_the_async_thread() {
        let hasher = Hasher::new();
        let (right, random) = (password("hunter22"), Counting::default());
        // Lock the memory, so that the computation cannot finish before the first poll.
        let memory = Arc::clone(&hasher.memory);
        let held = memory.lock().unwrap();
        let mut hashing = pin!(hasher.hash(&right, &random));
        assert!(hashing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(held);
        let hash = hashing.await.unwrap();
        assert_eq!(verify(&hasher, "hunter22", &hash).await, Verdict::Right);
    }

    #[tokio::test]
    async fn concurrent_hashes_do_not_disturb_each_other() {
        let hasher = Hasher::new();
        let (one, other) = tokio::join!(hash(&hasher, "hunter22"), hash(&hasher, "swordfish"));
        let verdicts = tokio::join!(
            verify(&hasher, "hunter22", &one),
            verify(&hasher, "swordfish", &one),
            verify(&hasher, "swordfish", &other),
            verify(&hasher, "hunter22", &other),
        );
        let expected = (Verdict::Right, Verdict::Wrong, Verdict::Right, Verdict::Wrong);
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Hasher::new()), "Hasher(..)");
    }
}
