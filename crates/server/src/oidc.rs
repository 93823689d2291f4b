//! Signing in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.
//!
//! Owns the conversation with the provider; `token` says whether what it gave is genuine. It knows no person and no session: what
//! comes out is an address that the provider vouches for.

mod token;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use billing::Time;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock;
use crate::config::OidcConfig;
use crate::hex::hex;
use crate::providers::install_crypto;

use token::{Expected, Keys};

/// The longest answer of a provider, in bytes.
const MAX_ANSWER: usize = 256 * 1_024;

/// A provider, and who we are to it.
pub struct Provider {
    config: OidcConfig,
    client: Client,
}

/// Why somebody is not let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The provider did not answer, or not as it should.
    Unavailable(String),
    /// It did not take the code: it was used, is too old, or was never given.
    Code,
    /// What it gave is not genuine, or not for us.
    Token(&'static str),
    /// It does not say that the address is theirs.
    Unverified,
}

/// A sign-in that was begun in a browser, which keeps this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    state: String,
    nonce: String,
    verifier: String,
}

impl Begun {
    fn new() -> Begun {
        let secret = || hex(&clock::random::<32>());
        Begun { state: secret(), nonce: secret(), verifier: secret() }
    }

    /// As a cookie has it.
    pub fn cookie(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// What a cookie has.
    pub fn parse(cookie: &str) -> Option<Begun> {
        let mut parts = cookie.split('.').map(str::to_owned);
        let begun = Begun { state: parts.next()?, nonce: parts.next()?, verifier: parts.next()? };
        let whole = [&begun.state, &begun.nonce, &begun.verifier].iter().all(|part| part.len() == 64);
        (whole && parts.next().is_none()).then_some(begun)
    }

    /// Whether an answer belongs to it.
    pub fn is_answered_by(&self, state: &str) -> bool {
        self.state.as_bytes().ct_eq(state.as_bytes()).into()
    }
}

/// What a provider says of itself.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Given {
    id_token: String,
}

impl Provider {
    /// Builds the client; connects to nothing.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(config: &OidcConfig) -> Result<Provider, String> {
        install_crypto();
        let builder = Client::builder().timeout(config.timeout).redirect(reqwest::redirect::Policy::none());
        // Without TLS there is no need for the machine's certificates, which a bare container lacks.
        let builder = if config.issuer.starts_with("http://") { builder.tls_certs_only([]) } else { builder };
        let client = builder.build().map_err(|error| format!("oidc: {}", error.without_url()))?;
        Ok(Provider { config: config.clone(), client })
    }

    /// Begins a sign-in: where the browser goes, and what it keeps until it comes back to `redirect`.
    ///
    /// # Errors
    /// When the provider does not say where.
    pub async fn begin(&self, redirect: &str) -> Result<(Url, Begun), Refused> {
        let (mut url, begun) = (web(&self.metadata().await?.authorization_endpoint)?, Begun::new());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(begun.verifier.as_bytes()));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", "openid email")
            .append_pair("state", &begun.state)
            .append_pair("nonce", &begun.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok((url, begun))
    }

    /// Ends a sign-in: the address that the provider vouches for.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn finish(
        &self,
        begun: &Begun,
        code: &str,
        redirect: &str,
        now: Time,
    ) -> Result<String, Refused> {
        let metadata = self.metadata().await?;
        let id_token = self.exchange(&metadata, begun, code, redirect).await?;
        // The keys are asked for each time: sign-ins are few, and a key that was replaced counts at once.
        let keys: Keys = self.ask(self.client.get(web(&metadata.jwks_uri)?)).await?;
        let OidcConfig { issuer, client_id, .. } = &self.config;
        token::address(&id_token, &keys, &Expected { issuer, client_id, nonce: &begun.nonce, now })
    }

    async fn metadata(&self) -> Result<Metadata, Refused> {
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.ask(self.client.get(url)).await?;
        if metadata.issuer != self.config.issuer {
            return Err(Refused::Token("it comes from another issuer"));
        }
        Ok(metadata)
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        begun: &Begun,
        code: &str,
        redirect: &str,
    ) -> Result<String, Refused> {
        let OidcConfig { client_id, client_secret, .. } = &self.config;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", &begun.verifier),
        ];
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let knows = |method: &str| methods.iter().any(|known| known == method);
        let mut request = self.client.post(web(&metadata.token_endpoint)?);
        if knows("client_secret_post") && !knows("client_secret_basic") {
            form.extend([("client_id", client_id.as_str()), ("client_secret", client_secret.reveal())]);
        } else {
            let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            request = request.basic_auth(part(client_id), Some(part(client_secret.reveal())));
        }
        let answer = send(request.form(&form)).await?;
        if answer.status().is_client_error() {
            return Err(Refused::Code);
        }
        if !answer.status().is_success() {
            return Err(Refused::Unavailable(format!("it answered {}", answer.status().as_u16())));
        }
        read::<Given>(answer).await.map(|given| given.id_token)
    }

    /// Asks for a document.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Refused> {
        let answer = send(request).await?;
        if !answer.status().is_success() {
            return Err(Refused::Unavailable(format!("it answered {}", answer.status().as_u16())));
        }
        read(answer).await
    }
}

fn web(url: &str) -> Result<Url, Refused> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Refused::Unavailable("its addresses are not of the web".to_owned()))
}

/// Of the provider's words nothing is shown, and the address may hold a secret.
fn lost(error: reqwest::Error) -> Refused {
    Refused::Unavailable(error.without_url().to_string())
}

async fn send(request: RequestBuilder) -> Result<Response, Refused> {
    request.header("accept", "application/json").send().await.map_err(lost)
}

async fn read<T: DeserializeOwned>(mut answer: Response) -> Result<T, Refused> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Refused::Unavailable("its answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| Refused::Unavailable("its answer cannot be read".to_owned()))
}
