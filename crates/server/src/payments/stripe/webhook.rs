//! Events as they arrive: whether they are Stripe's and meant for us, and what they hint at.
//!
//! Owns the signature's format. It believes nothing else that an event says: the object is fetched before anything changes.

use billing::Time;
use billing::units::SECOND;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Hint;
use super::objects::Event;
use crate::config::Secret;
use crate::hex::from_hex;

/// How old an event's signature may be, or how far ahead of our clock, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// Signatures that are looked at in one header.
const MAX_SIGNATURES: usize = 16;

/// Why an event is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forged {
    /// There is no signature of ours, or it is not of this body.
    Signature,
    /// It was signed too long ago, or in the future.
    Stale,
    /// It is no event.
    Garbled,
    /// It is of the other mode: test or live.
    OtherMode,
    /// It is of another account.
    OtherAccount,
}

/// Whether the body was signed with one of the secrets, lately.
///
/// Every signature is held against every secret, in constant time: Stripe sends several while a secret is being replaced.
pub(super) fn verify(body: &[u8], header: &str, secrets: &[Secret], now: Time) -> Result<(), Forged> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, at)| at).ok_or(Forged::Signature)?;
    let seconds: i64 = signed_at.parse().map_err(|_| Forged::Signature)?;
    let signatures: Vec<Vec<u8>> = parts()
        .filter(|(name, _)| *name == "v1")
        .take(MAX_SIGNATURES)
        .filter_map(|(_, hex)| from_hex(hex))
        .collect();
    let mut genuine = false;
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(signed_at.as_bytes());
        mac.update(b".");
        mac.update(body);
        genuine |= signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
    }
    if !genuine {
        return Err(Forged::Signature);
    }
    let age = (now.0 / SECOND).saturating_sub(seconds);
    if age.saturating_abs() > TOLERANCE_SECONDS { Err(Forged::Stale) } else { Ok(()) }
}

/// What a genuine event hints at; `None`: nothing of ours.
pub(super) fn hint(body: &[u8], livemode: bool, account: Option<&str>) -> Result<Option<Hint>, Forged> {
    let event: Event = serde_json::from_slice(body).map_err(|_| Forged::Garbled)?;
    if event.livemode != livemode {
        return Err(Forged::OtherMode);
    }
    // Only events of connected accounts name one.
    if event.account.is_some() && event.account.as_deref() != account {
        return Err(Forged::OtherAccount);
    }
    let object = event.data.object;
    let owner = object.customer.or(event.data.previous_attributes.and_then(|before| before.customer));
    Ok(match (object.object.as_str(), object.payment_intent) {
        ("payment_intent", _) => Some(Hint::Intent(object.id)),
        ("refund", Some(intent)) => Some(Hint::Refund(intent.0)),
        ("checkout.session", None) => Some(Hint::Session(object.id)),
        ("customer", _) => Some(Hint::Customer(object.id)),
        ("payment_method", _) => owner.map(|owner| Hint::Customer(owner.0)),
        (_, Some(intent)) => Some(Hint::Intent(intent.0)),
        (_, None) => None,
    })
}
