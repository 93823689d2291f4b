//! Whether an ID token is genuine, for us, for this sign-in and still good; and whose address it vouches for.
//!
//! The signatures are `ring`'s; here is what surrounds them. Only three kinds are taken, by name: whatever else a token says of
//! itself, `none` and shared secrets among it, it is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use billing::Time;
use billing::units::SECOND;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use super::Refused;

/// How far the provider's clock may be from ours, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// What a token must say.
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: Time,
}

/// The keys of a provider.
#[derive(Deserialize)]
pub struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    azp: Option<String>,
    exp: serde_json::Number,
    nbf: Option<serde_json::Number>,
    nonce: Option<String>,
    email: Option<String>,
    email_verified: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The address that a token vouches for.
pub fn address(token: &str, keys: &Keys, expected: &Expected) -> Result<String, Refused> {
    let claims: Claims = genuine(token, keys)?;
    if claims.iss != expected.issuer {
        return Err(Refused::Token("it comes from another issuer"));
    }
    let ours = match &claims.aud {
        Audience::One(audience) => audience == expected.client_id,
        // One that is for several must say that it was made for us.
        Audience::Several(several) => {
            several.iter().any(|one| one == expected.client_id)
                && (several.len() == 1 || claims.azp.is_some())
        }
    };
    if !ours || claims.azp.as_ref().is_some_and(|azp| azp != expected.client_id) {
        return Err(Refused::Token("it is for another program"));
    }
    let now = expected.now.0 / SECOND;
    let seconds = |number: &serde_json::Number| {
        let whole = number.to_string();
        whole.split('.').next().and_then(|whole| whole.parse::<i64>().ok())
    };
    if seconds(&claims.exp).is_none_or(|exp| exp.saturating_add(LEEWAY_SECONDS) <= now) {
        return Err(Refused::Token("it is too old"));
    }
    if claims.nbf.is_some_and(|nbf| seconds(&nbf).is_none_or(|nbf| nbf.saturating_sub(LEEWAY_SECONDS) > now))
    {
        return Err(Refused::Token("it is not good yet"));
    }
    let nonce = claims.nonce.unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(Refused::Token("it belongs to another sign-in"));
    }
    // Some providers write the word.
    let verified = matches!(&claims.email_verified, Some(said) if *said == true || *said == "true");
    claims.email.filter(|_| verified).ok_or(Refused::Unverified)
}

/// What a token says, once one of the keys has signed it.
fn genuine<T: DeserializeOwned>(token: &str, keys: &Keys) -> Result<T, Refused> {
    const UNREADABLE: Refused = Refused::Token("it cannot be read");
    let (signed, signature) = token.rsplit_once('.').ok_or(UNREADABLE)?;
    let (header, payload) = signed.split_once('.').ok_or(UNREADABLE)?;
    let header: Header = part(header).ok_or(UNREADABLE)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| UNREADABLE)?;
    let of_kind = |key: &&Key| key.suits(&header);
    let signs = |key: &Key| key.signed(signed.as_bytes(), &signature).is_some();
    if header.crit.is_some() || !keys.keys.iter().filter(of_kind).any(signs) {
        return Err(Refused::Token("its signature is not the provider's"));
    }
    part(payload).ok_or(UNREADABLE)
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl Key {
    /// Whether it may have signed what has this header. The key decides what kind of signature is taken, never the token alone.
    fn suits(&self, header: &Header) -> bool {
        let kind = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => "RS256",
            ("EC", Some("P-256")) => "ES256",
            ("OKP", Some("Ed25519")) => "EdDSA",
            _ => return false,
        };
        let named = header.kid.is_none() || self.kid == header.kid;
        let meant = self.alg.as_deref().is_none_or(|alg| alg == kind);
        kind == header.alg && named && meant && self.r#use.as_deref().is_none_or(|meant| meant == "sig")
    }

    /// `Some` when it has signed this.
    fn signed(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let verified = match self.kty.as_str() {
            "RSA" => RsaPublicKeyComponents { n: bytes(&self.n)?, e: bytes(&self.e)? }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            "EC" => {
                let point = [&[4][..], &bytes(&self.x)?, &bytes(&self.y)?].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => UnparsedPublicKey::new(&ED25519, bytes(&self.x)?).verify(message, signature),
        };
        verified.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7515, appendix A.2.
    const RSA: &str = r#"{"keys": [{"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]}"#;
    const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    #[test]
    fn the_example_of_the_standard_is_genuine_and_nothing_near_it_is() {
        let keys: Keys = serde_json::from_str(RSA).unwrap();
        let claims: serde_json::Value = genuine(SIGNED, &keys).unwrap();
        assert_eq!(claims["iss"], "joe");
        let (head, tail) = SIGNED.split_at(SIGNED.len() - 10);
        let (header, rest) = SIGNED.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let shared = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let critical = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","crit":["exp"]}"#);
        for wrong in [
            format!("{head}{}", tail.replace(|_: char| true, "A")),
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{shared}.{payload}.{signature}"),
            format!("{critical}.{payload}.{signature}"),
            format!("{header}.{payload}"),
            format!("{header}.{header}.{signature}"),
            format!("{header}.{payload}."),
            String::new(),
            "..".to_owned(),
        ] {
            assert!(genuine::<serde_json::Value>(&wrong, &keys).is_err(), "{wrong}");
        }
        for other in [
            RSA.replace("\"RSA\"", "\"EC\""),
            RSA.replace("\"RSA\"", "\"RSA\", \"alg\": \"PS256\""),
            RSA.replace("\"RSA\"", "\"RSA\", \"use\": \"enc\""),
            RSA.replace("ofgW", "ofgX"),
            r#"{"keys": []}"#.to_owned(),
        ] {
            let keys: Keys = serde_json::from_str(&other).unwrap();
            assert!(genuine::<serde_json::Value>(SIGNED, &keys).is_err(), "{other}");
        }
    }
}
