//! Single sign-on against a stand-in for an identity provider, which signs with keys of its own and lies as it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode as Status};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, Response, StatusCode, Url};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use scrip::app::LinkRole;
use scrip::config::{Config, OidcConfig, PaymentsConfig, Secret};
use scrip::store::people::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pages::{Browser, Site};
use crate::people::{admit, nobody, pass};

const CLIENT: &str = "scrip at work";
const SECRET: &str = "s3cret:%&";

/// What a provider signs with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Es256,
    EdDsa,
}

/// How a provider answers wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    Nonce,
    NoNonce,
    Issuer,
    Audience,
    Audiences,
    Party,
    Expired,
    NotYet,
    None,
    Shared,
    ForeignKey,
    Changed,
    NoToken,
}

const TRUST: &str = "cannot be trusted";

#[derive(Clone)]
struct Issuer(Arc<Mutex<Inner>>);

struct Inner {
    url: String,
    algorithm: Algorithm,
    ecdsa: EcdsaKeyPair,
    eddsa: Ed25519KeyPair,
    stranger: EcdsaKeyPair,
    /// What a code is good for, once.
    codes: HashMap<String, HashMap<String, String>>,
    lie: Option<Lie>,
    email: Value,
    verified: Value,
    now: i64,
    /// What discovery says of the issuer, if not the truth.
    named: Option<String>,
}

fn ecdsa() -> EcdsaKeyPair {
    let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let key = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).expect("a key")
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    async fn start(algorithm: Algorithm) -> Issuer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let eddsa = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let inner = Inner {
            url,
            algorithm,
            ecdsa: ecdsa(),
            eddsa: Ed25519KeyPair::from_pkcs8(eddsa.as_ref()).expect("a key"),
            stranger: ecdsa(),
            codes: HashMap::new(),
            lie: None,
            email: json!("Person@Example.com"),
            verified: json!(true),
            now: 0,
            named: None,
        };
        let issuer = Issuer(Arc::new(Mutex::new(inner)));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discover))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().expect("no panic"));
    }

    /// A site whose people may sign in here.
    async fn site(&self) -> Site {
        let issuer = self.0.lock().expect("no panic").url.clone();
        let timeout = std::time::Duration::from_secs(5);
        let (client_id, client_secret) = (CLIENT.to_owned(), Secret::new(SECRET));
        let oidc = Some(OidcConfig { issuer, client_id, client_secret, timeout });
        let payments = Some(PaymentsConfig::Sandbox);
        let site = Site::configured(Config { oidc, payments, ..Config::default() }).await;
        self.set(|inner| inner.now = site.app.clock.now().0 / 1_000_000);
        site
    }

    /// The person says yes: a code for what the browser came with.
    fn consent(&self, asked: &HashMap<String, String>, code: &str) {
        self.set(|inner| drop(inner.codes.insert(code.to_owned(), asked.clone())));
    }
}

async fn discover(State(issuer): State<Issuer>) -> Json<Value> {
    let inner = issuer.0.lock().expect("no panic");
    let url = &inner.url;
    Json(
        json!({ "issuer": inner.named.as_ref().unwrap_or(url), "authorization_endpoint": format!("{url}/ask?tenant=1"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys") }),
    )
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let inner = issuer.0.lock().expect("no panic");
    let point = inner.ecdsa.public_key().as_ref();
    Json(json!({ "keys": [
        { "kty": "oct", "kid": "other", "k": "AAAA" },
        { "kty": "EC", "crv": "P-256", "kid": "es", "use": "sig", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) },
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encoded(inner.eddsa.public_key().as_ref()) },
    ] }))
}

async fn token(
    State(issuer): State<Issuer>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Answer {
    let refused = (Status::BAD_REQUEST, Json(json!({ "error": "invalid_grant" })));
    let client = STANDARD.encode("scrip%20at%20work:s3cret%3A%25%26");
    let known =
        headers.get("authorization").and_then(|it| it.to_str().ok()) == Some(&format!("Basic {client}"));
    let mut inner = issuer.0.lock().expect("no panic");
    let Some(asked) = inner.codes.remove(&form["code"]).filter(|_| known) else {
        return refused.into_response();
    };
    let challenge = encoded(Sha256::digest(form["code_verifier"].as_bytes()));
    let same = form["redirect_uri"] == asked["redirect_uri"] && challenge == asked["code_challenge"];
    if !same || form["grant_type"] != "authorization_code" {
        return refused.into_response();
    }
    if inner.lie == Some(Lie::NoToken) {
        return Json(json!({ "access_token": "x" })).into_response();
    }
    Json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": inner.id_token(&asked["nonce"]) }))
        .into_response()
}

impl Inner {
    fn id_token(&self, nonce: &str) -> String {
        let (lie, now) = (self.lie, self.now);
        let lies = |what: Lie| lie == Some(what);
        let mut claims = json!({ "sub": "7", "iss": self.url, "aud": CLIENT, "exp": now + 300, "iat": now,
            "nonce": nonce, "email": self.email, "email_verified": self.verified });
        match lie {
            Some(Lie::Nonce) => claims["nonce"] = json!("0".repeat(64)),
            Some(Lie::NoNonce) => drop(claims.as_object_mut().expect("an object").remove("nonce")),
            Some(Lie::Issuer) => claims["iss"] = json!(format!("{}/", self.url)),
            Some(Lie::Audience) => claims["aud"] = json!("another"),
            Some(Lie::Audiences) => claims["aud"] = json!(["another", CLIENT]),
            Some(Lie::Party) => claims["azp"] = json!("another"),
            Some(Lie::Expired) => claims["exp"] = json!(now - 60),
            Some(Lie::NotYet) => claims["nbf"] = json!(now + 61),
            _ => {}
        }
        let (alg, kid) = match self.algorithm {
            _ if lies(Lie::None) => ("none", "es"),
            _ if lies(Lie::Shared) => ("HS256", "other"),
            _ if lies(Lie::ForeignKey) => ("ES256", "es"),
            Algorithm::Es256 => ("ES256", "es"),
            Algorithm::EdDsa => ("EdDSA", "ed"),
        };
        let header = encoded(json!({ "alg": alg, "kid": kid, "typ": "JWT" }).to_string());
        let signed = format!("{header}.{}", encoded(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match alg {
            "none" | "HS256" => Vec::new(),
            "EdDSA" => self.eddsa.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => {
                let key = if lies(Lie::ForeignKey) { &self.stranger } else { &self.ecdsa };
                key.sign(&random, signed.as_bytes()).expect("a signature").as_ref().to_vec()
            }
        };
        if lies(Lie::Changed) {
            claims["email"] = json!("admin@example.com");
            return format!("{header}.{}.{}", encoded(claims.to_string()), encoded(signature));
        }
        format!("{signed}.{}", encoded(signature))
    }
}

/// A sign-in that was begun: the browser, and what it asks the provider.
async fn begin<'a>(site: &'a Site) -> (Browser<'a>, HashMap<String, String>) {
    let answer = nobody(site).send(Method::GET, "/sign-in/provider", &[]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let url = Url::parse(answer.headers()["location"].to_str().expect("text")).expect("an address");
    let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
    for (name, value) in
        [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256"), ("tenant", "1")]
    {
        assert_eq!(asked[name], value);
    }
    assert!(
        asked["scope"].split(' ').any(|scope| scope == "openid")
            && asked["redirect_uri"].starts_with(&site.url)
    );
    (Browser { site, cookie: cookie(&answer, "scrip_begun").expect("a cookie") }, asked)
}

fn cookie(answer: &Response, name: &str) -> Option<String> {
    let set = answer.headers().get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
    let mut named = set.filter(|set| set.starts_with(name));
    let set = named.next()?;
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax"), "{set}");
    set.split(';').next().map(str::to_owned)
}

async fn come_back(browser: &Browser<'_>, state: &str, code: &str) -> Response {
    browser.send(Method::GET, &format!("/sign-in/provider/callback?state={state}&code={code}"), &[]).await
}

/// Refused by a page that says why, with no session and nothing left of what was begun.
async fn refused(answer: Response, words: &str) {
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(cookie(&answer, "scrip_session"), None);
    assert_eq!(cookie(&answer, "scrip_begun").as_deref(), Some("scrip_begun="));
    let page = answer.text().await.expect("text");
    assert!(page.contains(words) && page.contains("href=\"/sign-in\""), "{words} in {page}");
}

#[tokio::test]
async fn who_was_invited_comes_in_and_nobody_else() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let issuer = Issuer::start(algorithm).await;
        let site = issuer.site().await;
        let workspace = site.workspace("Workspace 0001").await;
        assert!(nobody(&site).get("/sign-in").await.1.contains("href=\"/sign-in/provider\""));
        let (browser, asked) = begin(&site).await;
        issuer.consent(&asked, "one");
        refused(come_back(&browser, &asked["state"], "one").await, "Nobody with this address was invited")
            .await;
        assert_eq!(site.app.store.members(workspace).await.expect("a list").len(), 1, "no stranger signs up");

        admit(&site, workspace, "person@example.com", Role::Member).await;
        let planted = site.guest(workspace, LinkRole::Admin, "guest@example.com").await;
        let (mut browser, asked) = begin(&site).await;
        assert_ne!(asked["state"], asked["nonce"]);
        browser.cookie = format!("{}; {}", browser.cookie, planted.cookie);
        issuer.consent(&asked, "two");
        let answer = come_back(&browser, &asked["state"], "two").await;
        assert_eq!(
            (answer.status(), answer.headers()["location"].to_str().expect("text")),
            (StatusCode::SEE_OTHER, "/billing")
        );
        assert_eq!(cookie(&answer, "scrip_begun").as_deref(), Some("scrip_begun="), "it is used up");
        let person = Browser { site: &site, cookie: cookie(&answer, "scrip_session").expect("a session") };
        let (_, page) = person.get("/settings/sessions").await;
        assert!(page.contains("by single sign-on"), "{page}");
        assert_eq!(person.get("/settings/keys").await.0, StatusCode::FORBIDDEN, "as what they are there");
        assert_eq!(planted.get("/billing").await.0, StatusCode::UNAUTHORIZED, "a session of its own");

        refused(come_back(&browser, &asked["state"], "two").await, "was used or took too long").await;
        site.audit();
    }
}

#[tokio::test]
async fn what_is_not_genuine_or_not_for_this_sign_in_is_refused() {
    let issuer = Issuer::start(Algorithm::Es256).await;
    let site = issuer.site().await;
    let workspace = site.workspace("Workspace 0001").await;
    admit(&site, workspace, "person@example.com", Role::Member).await;
    for lie in [
        Lie::Nonce,
        Lie::NoNonce,
        Lie::Issuer,
        Lie::Audience,
        Lie::Audiences,
        Lie::Party,
        Lie::Expired,
        Lie::NotYet,
        Lie::None,
        Lie::Shared,
        Lie::ForeignKey,
        Lie::Changed,
    ] {
        issuer.set(|inner| inner.lie = Some(lie));
        let (browser, asked) = begin(&site).await;
        issuer.consent(&asked, "code");
        println!("{lie:?}");
        refused(come_back(&browser, &asked["state"], "code").await, TRUST).await;
    }
    issuer.set(|inner| inner.lie = None);
    for (email, verified) in [
        (json!("person@example.com"), json!(false)),
        (json!("person@example.com"), json!("false")),
        (json!("person@example.com"), Value::Null),
        (json!("person@example.com"), json!(1)),
        (Value::Null, json!(true)),
    ] {
        issuer.set(|inner| (inner.email, inner.verified) = (email.clone(), verified));
        let (browser, asked) = begin(&site).await;
        issuer.consent(&asked, "code");
        refused(
            come_back(&browser, &asked["state"], "code").await,
            "does not say that your e-mail address is verified",
        )
        .await;
    }
    issuer.set(|inner| (inner.email, inner.verified) = (json!("x\r\ny@example.com"), json!(true)));
    let (browser, asked) = begin(&site).await;
    issuer.consent(&asked, "code");
    refused(come_back(&browser, &asked["state"], "code").await, "Nobody with this address was invited").await;
}

#[tokio::test]
async fn an_answer_belongs_to_the_browser_that_asked() {
    let issuer = Issuer::start(Algorithm::EdDsa).await;
    let site = issuer.site().await;
    let workspace = site.workspace("Workspace 0001").await;
    admit(&site, workspace, "person@example.com", Role::Member).await;
    let ((mine, asked), (theirs, others)) = (begin(&site).await, begin(&site).await);
    issuer.consent(&asked, "mine");
    issuer.consent(&others, "theirs");
    let elsewhere = "was not begun in this browser";
    for (browser, state) in [
        (&nobody(&site), asked["state"].as_str()),
        (&theirs, &asked["state"]),
        (&mine, &others["state"]),
        (&mine, ""),
        (&mine, &asked["nonce"]),
        (&Browser { site: &site, cookie: "scrip_begun=..".to_owned() }, ""),
    ] {
        refused(come_back(browser, state, "mine").await, elsewhere).await;
    }
    // A code of somebody else's sign-in, put into mine: what proves the asker does not fit.
    refused(come_back(&mine, &asked["state"], "theirs").await, "was used or took too long").await;
    refused(come_back(&mine, &asked["state"], "").await, "did not let you in").await;
    refused(come_back(&mine, &asked["state"], "never-given").await, "was used or took too long").await;
    assert_eq!(come_back(&mine, &asked["state"], "mine").await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_is_a_page_and_no_way_in() {
    let issuer = Issuer::start(Algorithm::Es256).await;
    let site = issuer.site().await;
    let workspace = site.workspace("Workspace 0001").await;
    admit(&site, workspace, "person@example.com", Role::Member).await;
    issuer.set(|inner| inner.lie = Some(Lie::NoToken));
    let (browser, asked) = begin(&site).await;
    issuer.consent(&asked, "code");
    let answer = come_back(&browser, &asked["state"], "code").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.expect("text").contains("did not answer"));
    issuer.set(|inner| inner.named = Some("https://elsewhere.example".to_owned()));
    let answer = nobody(&site).send(Method::GET, "/sign-in/provider", &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "who says that it is another is not asked");
    assert!(answer.text().await.expect("text").contains(TRUST));
    pass(&site, 0).await;

    let plain = Site::open().await;
    for path in ["/sign-in/provider", "/sign-in/provider/callback?state=x&code=y"] {
        let answer = nobody(&plain).send(Method::GET, path, &[]).await;
        let expected = if path.contains('?') { StatusCode::UNAUTHORIZED } else { StatusCode::NOT_FOUND };
        assert_eq!(answer.status(), expected, "{path}");
    }
    assert!(!nobody(&plain).get("/sign-in").await.1.contains("/sign-in/provider"));
}
