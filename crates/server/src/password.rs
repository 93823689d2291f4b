//! Passwords: what they must be, how they are hashed, and how one is compared.
//!
//! Owns the cost and where it is paid: on threads for blocking work, few at a time, so that who guesses slows nobody else down.
//! It knows no person. There is no cheaper way for tests.

use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::clock;
use crate::store::Error;

/// The shortest password, in characters. What they are is nobody's business.
pub const MIN_CHARACTERS: usize = 12;
/// The longest, in bytes.
pub const MAX_BYTES: usize = 1_024;

/// What OWASP asks of Argon2id at least: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many are hashed at the same time.
const AT_ONCE: usize = 4;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is compared where there is no password: it costs as much, and nobody knows what it is the hash of.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What is wrong with a new password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It has less than [`MIN_CHARACTERS`].
    TooShort,
    /// It has more than [`MAX_BYTES`].
    TooLong,
}

impl Unfit {
    /// In words, for the person.
    pub fn words(self) -> &'static str {
        match self {
            Unfit::TooShort => "It must have at least 12 characters; any will do.",
            Unfit::TooLong => "It may have at most 1,024 bytes.",
        }
    }
}

/// Whether a new password is one.
///
/// # Errors
/// What is wrong with it.
pub fn check(password: &str) -> Result<(), Unfit> {
    if password.len() > MAX_BYTES {
        return Err(Unfit::TooLong);
    }
    if password.chars().count() < MIN_CHARACTERS { Err(Unfit::TooShort) } else { Ok(()) }
}

/// The places of those whose password is hashed now.
pub struct Places(Semaphore);

impl Default for Places {
    fn default() -> Places {
        Places(Semaphore::new(AT_ONCE))
    }
}

impl App {
    /// The hash of a new password, with its salt and cost.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn hash_password(&self, password: String) -> Result<String, Error> {
        let salt = clock::random::<16>();
        let hash = move || {
            let hash = hasher().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| Error::Broken(error.to_string()))
        };
        self.at_its_turn(hash).await?
    }

    /// Whether a password is the one that was hashed. Takes equally long where there is none.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn is_password(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let compare = move || {
            let stored = hash.as_deref().unwrap_or(NOBODYS);
            let same = hasher().verify_password(password.as_bytes(), stored).is_ok();
            same && hash.is_some()
        };
        self.at_its_turn(compare).await
    }

    async fn at_its_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || Error::Unavailable("too many people sign in right now; try again".to_owned());
        let turn = tokio::time::timeout(PATIENCE, self.passwords.0.acquire()).await;
        let _place = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| busy())
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_costs_what_it_should_and_nobodys_costs_the_same() {
        let hash = hasher().hash_password_with_salt(b"correct horse battery", &[7; 16]).unwrap().to_string();
        let cost = "$argon2id$v=19$m=19456,t=2,p=1$";
        assert!(hash.starts_with(cost) && NOBODYS.starts_with(cost), "{hash}");
        assert_eq!(hash.len(), NOBODYS.len());
        assert!(hasher().verify_password(b"correct horse battery", hash.as_str()).is_ok());
        assert!(hasher().verify_password(b"correct horse batterx", hash.as_str()).is_err());
        let wrong = hasher().verify_password(b"correct horse battery", NOBODYS).unwrap_err();
        assert_eq!(wrong, argon2::password_hash::Error::PasswordInvalid, "it is read, and it is not the one");
    }

    #[test]
    fn length_is_all_that_is_asked_of_a_password() {
        assert_eq!(check("elevenchars"), Err(Unfit::TooShort));
        assert_eq!(check("äöüäöüäöüäö"), Err(Unfit::TooShort), "characters count, not bytes");
        assert_eq!(check("            "), Ok(()));
        assert_eq!(check(&"x".repeat(MAX_BYTES)), Ok(()));
        assert_eq!(check(&"x".repeat(MAX_BYTES + 1)), Err(Unfit::TooLong));
    }
}
