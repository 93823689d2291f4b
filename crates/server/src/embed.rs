//! What a host product puts into its own pages: a token that shows one balance, and nothing else.
//!
//! Owns the token's form. It is signed, ends by itself soon, and works only while the store has its row, so that one alone can
//! be revoked. It says which sites may show the balance, and browsers hold it to that.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use billing::Time;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::store::Error;

/// How long a token works unless it is said, in seconds.
pub const SECONDS: i64 = 86_400;
/// The longest that it may work, in seconds.
pub const MAX_SECONDS: i64 = 604_800;
/// How many sites one token may name.
pub const MAX_ORIGINS: usize = 20;

const PREFIX: &str = "embed_";

/// What a token says.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Embed {
    pub workspace: i64,
    /// Its number in the workspace.
    pub id: i64,
    /// As browsers write them: `https://app.example.com`.
    pub origins: Vec<String>,
    /// Microseconds since 1970.
    pub expires_at: i64,
}

/// Whether a genuine token still works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// It does.
    Works,
    /// It did, until it ended or was revoked.
    Ended,
}

impl Embed {
    /// When it ends.
    pub fn ends(&self) -> Time {
        Time(self.expires_at)
    }

    /// Whether a site may show the balance.
    pub fn is_for(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }
}

/// A site as browsers write it in `Origin`, or `None` when it is more, or less, than a site.
pub fn origin(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    let site = matches!(url.scheme(), "http" | "https") && url.has_host() && bare && nobody;
    // A host of ours stands in a header: what could end or widen a source there is no host.
    let host = url.host_str().unwrap_or_default();
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte));
    (site && plain).then(|| url.origin().ascii_serialization())
}

impl App {
    /// A token for a balance.
    pub fn embed_token(&self, embed: &Embed) -> String {
        let payload = serde_json::to_vec(embed).unwrap_or_default();
        format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&payload), self.sign(&signed(&payload)))
    }

    /// Reads a token; `None` when it is not ours.
    ///
    /// # Errors
    /// When the store cannot say whether it was revoked.
    pub async fn open_embed(&self, token: &str) -> Result<Option<(Embed, Validity)>, Error> {
        let Some(embed) = self.signed_embed(token) else { return Ok(None) };
        let works = embed.ends() > self.clock.now() && self.embed_stands(&embed).await?;
        Ok(Some((embed, if works { Validity::Works } else { Validity::Ended })))
    }

    /// Whether a token was not revoked.
    ///
    /// # Errors
    /// When the store cannot say.
    pub async fn embed_stands(&self, embed: &Embed) -> Result<bool, Error> {
        self.store.embed_token_stands(embed.workspace, embed.id).await
    }

    fn signed_embed(&self, token: &str) -> Option<Embed> {
        let (payload, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        if !self.is_signature(&signed(&payload), signature) {
            return None;
        }
        serde_json::from_slice(&payload).ok()
    }
}

/// Another thing than what a link into the dashboard signs, so that neither is ever taken for the other.
fn signed(payload: &[u8]) -> Vec<u8> {
    [b"embed ", payload].concat()
}
