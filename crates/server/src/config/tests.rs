use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;

const GOOD: &str = r#"catalog = "prices.toml"
public_url = "https://credits.example.com/"
[providers.discovery]
kind = "http"
url = "https://discovery.example.com/v1"
token = "env:DISCOVERY_TOKEN"
idempotent = true
query = true
timeout_seconds = 7
[[providers.enrichment]]
kind = "http"
url = "http://127.0.0.1:9001/enrichment"
name = "first"
fields = ["contact"]
cost = 0.05
[[providers.enrichment]]
kind = "http"
url = "http://127.0.0.1:9002/enrichment"
cost = 2
[providers.messages]
kind = "openai"
base_url = "https://models.example.com/v1"
model = "writer-1"
token = "literal-token"
[providers.email]
kind = "smtp"
url = "smtp://user:pass@mail.example.com:587"
from = "Sales <sales@example.com>"
[payments]
kind = "sandbox"
[mail]
url = "env:MAIL_URL"
from = "notices@example.com"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "DISCOVERY_TOKEN" => Some("secret-token".into()),
        "MAIL_URL" => Some("smtps://notices.example.com".into()),
        "STRIPE_KEY" => Some("rk_test_restricted".into()),
        "STRIPE_EVENTS" => Some("whsec_first".into()),
        "SPACED" => Some("two words".into()),
        _ => None,
    }
}

/// A directory with a catalog of its own, `prices.toml`, written once because tests run side by side.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("scrip-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("prices.toml"), "version = 42").unwrap();
    directory
});

fn parse_in_directory(text: &str) -> Result<Config, String> {
    parse("scrip.toml", text, &DIRECTORY, &environment)
}

#[test]
fn a_good_file_is_read_completely() {
    let config = parse_in_directory(GOOD).unwrap();
    assert_eq!(config.catalogs[0].version, 42);
    assert_eq!(config.public_url.as_deref(), Some("https://credits.example.com"));
    assert_eq!(config.payments, Some(PaymentsConfig::Sandbox));
    let discovery = config.providers.discovery.unwrap();
    assert_eq!(discovery.token.unwrap().reveal(), "secret-token");
    assert_eq!(
        (discovery.idempotent, discovery.query, discovery.timeout),
        (true, true, Duration::from_secs(7))
    );
    let [first, second] = &config.providers.enrichment[..] else { panic!("two providers") };
    assert_eq!((first.name.as_str(), first.cost.micros), ("first", 50_000));
    assert_eq!(first.fields, Some(vec!["contact".to_owned()]));
    assert_eq!(
        (second.name.as_str(), second.cost.micros, &second.fields),
        ("enrichment_2", 2_000_000, &None)
    );
    assert_eq!((second.http.idempotent, second.http.timeout), (false, Duration::from_secs(20)));
    assert!(config.providers.linkedin.is_none());
    assert_eq!(config.providers.messages.unwrap().model, "writer-1");
    assert_eq!(config.providers.email.unwrap().from, "Sales <sales@example.com>");
    assert_eq!(config.mail.unwrap().url.reveal(), "smtps://notices.example.com");
}

#[test]
fn a_single_enrichment_table_is_a_list_of_one() {
    let text = "[providers.enrichment]\nkind = \"http\"\nurl = \"http://localhost:1/x\"";
    assert_eq!(parse_in_directory(text).unwrap().providers.enrichment[0].name, "enrichment_1");
}

#[test]
fn what_providers_cost_is_read_without_rounding() {
    let with = |head: &str, line: &str| {
        let text = format!(
            "{head}[providers.messages]\nkind = \"openai\"\nbase_url = \"http://x\"\nmodel = \"m\"\n{line}"
        );
        parse_in_directory(&text).map(|config| (config.providers.costs.messages, config.providers.currency))
    };
    let currency = "[providers]\ncurrency = \"eur\"\n";
    let call = Cost { micros: 125, per: CostPer::Call };
    assert_eq!(with(currency, "cost = 0.000125\ncost_per = \"call\""), Ok((call, Some("EUR".to_owned()))));
    assert_eq!(with("", "cost = 3"), Ok((Cost { micros: 3_000_000, per: CostPer::Result }, None)));
    let per = "scrip.toml:5: providers.messages.cost_per: must be \"result\" or \"call\"";
    assert_eq!(with("", "cost_per = \"month\"").unwrap_err(), per);
    let wrong = "scrip.toml:2: providers.currency: must be three letters such as \"USD\"";
    assert_eq!(with("[providers]\ncurrency = \"EURO\"\n", "").unwrap_err(), wrong);
}

#[test]
fn without_a_file_the_builtin_catalog_serves() {
    let config = Config::load(None).unwrap();
    assert_eq!(config.catalogs, [Catalog::builtin()]);
    assert!(config.payments.is_none() && config.mail.is_none() && config.providers.enrichment.is_empty());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/scrip.toml"))).unwrap_err();
    assert!(error.starts_with("/nonexistent/scrip.toml: "), "{error}");
}

#[test]
fn secrets_are_never_printed() {
    let printed = format!("{:?}", parse_in_directory(GOOD).unwrap());
    assert!(
        printed.contains("***") && !printed.contains("secret-token") && !printed.contains("pass@"),
        "{printed}"
    );
}

/// Replaces `good` in the good file by `bad` and expects exactly this error.
fn check(good: &str, bad: &str, expected: &str) {
    assert!(GOOD.contains(good), "{good:?} is in the good file");
    assert_eq!(parse_in_directory(&GOOD.replacen(good, bad, 1)).unwrap_err(), expected);
}

#[test]
fn a_bad_file_is_refused_in_one_line() {
    check(
        "public_url",
        "public",
        "scrip.toml:2: public: unknown key (known here: catalog, providers, payments, mail, webhooks, oidc, public_url, seal_key, ca_file)",
    );
    check(
        "https://credits",
        "ftp://credits",
        "scrip.toml:2: public_url: must be an http:// or https:// address",
    );
    // Not even the longest that fits may be one longer, because every mail of a campaign would fail for it.
    let (fits, long) = (format!("https://{}", "x/".repeat(166)), format!("https://x{}", "x/".repeat(166)));
    let fits = parse_in_directory(&format!("public_url = \"{fits}/\"")).unwrap().public_url.unwrap();
    assert_eq!(fits.len(), MAX_PUBLIC_URL - 1);
    for (bad, problem) in [
        (
            format!("{long}/x"),
            "has at most 340 bytes, so that unsubscribe links fit into the headers of mails",
        ),
        (
            "https://example.com/?a=b".to_owned(),
            "must be visible ASCII characters without ?, #, <, > and quotes (a name in other letters as xn--…)",
        ),
        (
            "https://crédits.example.com".to_owned(),
            "must be visible ASCII characters without ?, #, <, > and quotes (a name in other letters as xn--…)",
        ),
    ] {
        let text = format!("public_url = \"{bad}\"");
        assert_eq!(parse_in_directory(&text).unwrap_err(), format!("scrip.toml:1: public_url: {problem}"));
    }
    let networks = "scrip.toml:3: webhooks.allow: must be networks such as \"10.0.0.0/8\" or \"127.0.0.1\"";
    for bad in ["10.0.0.0/33", "example.com", "10.0.0.0/", ""] {
        let text = format!("\n[webhooks]\nallow = [\"10.1.0.0/16\", \"{bad}\"]\n");
        assert_eq!(parse_in_directory(&text).unwrap_err(), networks, "{bad}");
    }
    check(
        "[providers.discovery]",
        "[providers.discoveries]",
        "scrip.toml:3: providers.discoveries: unknown key (known here: discovery, enrichment, linkedin, messages, email, currency)",
    );
    check(
        "kind = \"http\"\n",
        "kind = \"grpc\"\n",
        "scrip.toml:4: providers.discovery.kind: must be \"http\"",
    );
    check("kind = \"http\"\n", "", "scrip.toml:3: providers.discovery.kind: is missing");
    check(
        "https://discovery.",
        "discovery.",
        "scrip.toml:5: providers.discovery.url: must be an http:// or https:// address",
    );
    check(
        "env:DISCOVERY_TOKEN",
        "env:ABSENT",
        "scrip.toml:6: providers.discovery.token: the environment variable ABSENT is not set",
    );
    check(
        "env:DISCOVERY_TOKEN",
        "env:SPACED",
        "scrip.toml:6: providers.discovery.token: must be visible ASCII characters without spaces",
    );
    check(
        "idempotent = true",
        "idempotent = 1",
        "scrip.toml:7: providers.discovery.idempotent: must be true or false",
    );
    check(
        "timeout_seconds = 7",
        "timeout_seconds = 0",
        "scrip.toml:9: providers.discovery.timeout_seconds: must be a whole number of seconds, 1 to 600",
    );
    check(
        "timeout_seconds = 7",
        "retries = 7",
        "scrip.toml:9: providers.discovery.retries: unknown key (known here: kind, url, token, idempotent, query, timeout_seconds, cost, cost_per)",
    );
    check(
        "fields = [\"contact\"]",
        "fields = []",
        "scrip.toml:14: providers.enrichment[0].fields: must name at least one field, or be left out for all",
    );
    check(
        "fields = [\"contact\"]",
        "fields = \"contact\"",
        "scrip.toml:14: providers.enrichment[0].fields: must be a list of texts",
    );
    let cost =
        "scrip.toml:15: providers.enrichment[0].cost: must be 0 to 999999 with at most six decimal places";
    check("cost = 0.05", "cost = -0.05", cost);
    check("cost = 0.05", "cost = 0.0000001", cost);
    check("cost = 0.05", "cost = 1e3", cost);
    check("cost = 0.05", "cost = \"5\"", "scrip.toml:15: providers.enrichment[0].cost: must be a number");
    check(
        "cost = 2",
        "name = \"first\"",
        "scrip.toml:19: providers.enrichment[1].name: is the name of another provider",
    );
    check(
        "kind = \"openai\"",
        "kind = \"http\"",
        "scrip.toml:21: providers.messages.kind: must be \"openai\"",
    );
    check("model = \"writer-1\"\n", "", "scrip.toml:20: providers.messages.model: is missing");
    check(
        "smtp://user",
        "http://user",
        "scrip.toml:27: providers.email.url: must be an smtp:// or smtps:// address",
    );
    check(
        "Sales <sales@example.com>",
        "Sales",
        "scrip.toml:28: providers.email.from: must be an e-mail address, or \"Name <address>\"",
    );
    check("\"sandbox\"", "\"stripe\"", "scrip.toml:29: payments.secret_key: is missing");
    check("\"sandbox\"", "\"cash\"", "scrip.toml:30: payments.kind: must be \"sandbox\" or \"stripe\"");
    check("env:MAIL_URL", "env:", "scrip.toml:32: mail.url: the environment variable  is not set");
    check("from = \"notices@example.com\"", "", "scrip.toml:31: mail.from: is missing");
    check("[mail]", "[payments]", "scrip.toml:31: payments: duplicate key");
}

const STRIPE: &str = r#"[payments]
kind = "stripe"
secret_key = "env:STRIPE_KEY"
webhook_secrets = ["env:STRIPE_EVENTS", "whsec_second"]
timeout_seconds = 9
"#;

#[test]
fn stripe_is_configured_with_keys_that_can_be_stripes() {
    let Some(PaymentsConfig::Stripe(stripe)) = parse_in_directory(STRIPE).unwrap().payments else {
        panic!("Stripe")
    };
    assert_eq!(stripe.secret_key.reveal(), "rk_test_restricted");
    let secrets: Vec<&str> = stripe.webhook_secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["whsec_first", "whsec_second"]);
    assert_eq!((stripe.api_url.as_str(), stripe.is_live()), ("https://api.stripe.com", false));
    for live in ["sk_live_1", "rk_live_1"] {
        let text = STRIPE.replace("env:STRIPE_KEY", live);
        let Ok(Some(PaymentsConfig::Stripe(stripe))) =
            parse_in_directory(&text).map(|config| config.payments)
        else {
            panic!("{live}")
        };
        assert!(stripe.is_live());
        assert!(!format!("{stripe:?}").contains(live), "a key is never printed");
        let elsewhere = text.replace("timeout_seconds = 9", "api_url = \"https://api.example.com\"");
        let error = parse_in_directory(&elsewhere).unwrap_err();
        assert_eq!(error, "scrip.toml:5: payments.api_url: must be left out with a live key");
    }
    let own = STRIPE.replace("timeout_seconds = 9", "custom_domain = \"pay.example.com\"");
    let Some(PaymentsConfig::Stripe(own)) = parse_in_directory(&own).unwrap().payments else {
        panic!("{own}")
    };
    let pages = crate::payments::stripe::Stripe::new(&own).unwrap().pages().to_owned();
    assert_eq!(pages, "https://checkout.stripe.com https://billing.stripe.com https://pay.example.com");
    let taxed = STRIPE.replace("timeout_seconds = 9", "automatic_tax = true");
    let Some(PaymentsConfig::Stripe(taxed)) = parse_in_directory(&taxed).unwrap().payments else {
        panic!("{taxed}")
    };
    assert!(taxed.automatic_tax && !own.automatic_tax);
    let refused = |from: &str, to: &str, error: &str| {
        assert_eq!(parse_in_directory(&STRIPE.replace(from, to)).unwrap_err(), error);
    };
    let kinds = "scrip.toml:3: payments.secret_key: must be a key that begins with sk_test_, rk_test_, sk_live_ or rk_live_";
    refused("env:STRIPE_KEY", "pk_test_public", kinds);
    refused("env:STRIPE_KEY", "sk_test_two words", kinds);
    refused(
        "env:STRIPE_KEY",
        "env:NOBODY",
        "scrip.toml:3: payments.secret_key: the environment variable NOBODY is not set",
    );
    let secrets = "scrip.toml:4: payments.webhook_secrets: must be 1 to 8 secrets that begin with whsec_";
    let domain = "scrip.toml:5: payments.custom_domain: must be a domain such as pay.example.com";
    for bad in ["https://pay.example.com", "pay.example.com/x; script-src *", "pay example"] {
        refused("timeout_seconds = 9", &format!("custom_domain = \"{bad}\""), domain);
    }
    refused("whsec_second", "second", secrets);
    refused("whsec_second", "whsec_", secrets);
    refused("[\"env:STRIPE_EVENTS\", \"whsec_second\"]", "[]", secrets);
    refused(
        "kind = \"stripe\"",
        "kind = \"sandbox\"",
        "scrip.toml:3: payments.secret_key: unknown key (known here: kind)",
    );
}

#[test]
fn a_bad_catalog_names_the_file_that_names_it_or_its_own() {
    let error = parse_in_directory("\ncatalog = \"absent.toml\"").unwrap_err();
    assert!(error.starts_with("scrip.toml:2: catalog: ") && error.contains("absent.toml"), "{error}");
    let directory = std::env::temp_dir().join(format!("scrip-bad-catalog-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("prices.toml"), "version = 0").unwrap();
    let error = parse("scrip.toml", "catalog = \"prices.toml\"", &directory, &environment).unwrap_err();
    assert!(error.ends_with("prices.toml:1: version: must be a whole number, 1 or more"), "{error}");
    assert_eq!(read_catalog(&directory.join("prices.toml")).unwrap_err(), error);
}

#[test]
fn the_example_file_is_good() {
    let text = include_str!("../../../../examples/scrip.toml");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let variable =
        |name: &str| Some(if name == "SMTP_URL" { "smtp://mail.example.com".into() } else { name.into() });
    let config = parse("scrip.toml", text, &directory, &variable).unwrap();
    assert_eq!(config.catalogs, [Catalog::builtin()]);
    assert_eq!(config.providers.enrichment.len(), 2);
    crate::providers::Providers::new(&config.providers, &config.trust).unwrap();
}

#[test]
fn authorities_are_read_from_the_file_that_is_named() {
    let directory = std::env::temp_dir().join(format!("scrip-ca-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let read = |pem: &str| {
        std::fs::write(directory.join("ca.pem"), pem).unwrap();
        parse("scrip.toml", "ca_file = \"ca.pem\"", &directory, &|_| None)
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(read(&certificate.repeat(2)).unwrap().trust.certificates().count(), 2);
    for wrong in ["", "certificates", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        let problem = "scrip.toml:1: ca_file: must be a file of certificates in PEM";
        assert_eq!(read(wrong).unwrap_err(), problem, "{wrong:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let missing = parse("scrip.toml", "ca_file = \"ca.pem\"", &directory, &|_| None).unwrap_err();
    assert!(missing.starts_with("scrip.toml:1: ca_file: "), "{missing}");
}

#[test]
fn an_identity_provider_has_all_three_of_its_keys() {
    let good = "\n[oidc]\nissuer = \"https://id.example.com/\"\nclient_id = \"scrip\"\nclient_secret = \"env:DISCOVERY_TOKEN\"\n";
    let oidc = parse_in_directory(good).unwrap().oidc.unwrap();
    assert_eq!((oidc.issuer.as_str(), oidc.client_id.as_str()), ("https://id.example.com/", "scrip"));
    assert_eq!((oidc.client_secret.reveal(), oidc.timeout), ("secret-token", Duration::from_secs(20)));
    assert!(!format!("{oidc:?}").contains("secret-token"));
    for (from, to, problem) in [
        ("https://id", "id", "3: oidc.issuer: must be an http:// or https:// address"),
        (
            "client_id",
            "client",
            "4: oidc.client: unknown key (known here: issuer, client_id, client_secret, timeout_seconds)",
        ),
        ("client_secret = \"env:DISCOVERY_TOKEN\"\n", "", "2: oidc.client_secret: is missing"),
    ] {
        assert_eq!(parse_in_directory(&good.replace(from, to)).unwrap_err(), format!("scrip.toml:{problem}"));
    }
}
