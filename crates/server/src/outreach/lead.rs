//! What a lead must look like, and how it looks to providers. Pure.
//!
//! Imports are strict: a person can correct them. Search results are paid for, so they are read as tolerantly as possible.

use reqwest::Url;
use serde_json::{Value, json};

use super::line;
use crate::id;
use crate::store::leads::{EmailState, Lead};

/// The longest name, title, company or external id, in characters.
const MAX_TEXT: usize = 200;
/// The longest URL, in bytes.
const MAX_URL: usize = 500;
/// The longest name of a field, in characters.
const MAX_FIELD_NAME: usize = 64;
/// The longest value of a field, in bytes of JSON.
const MAX_FIELD: usize = 4_000;
/// How many fields a lead brings at most.
const MAX_FIELDS: usize = 50;

/// The names that a lead has itself; everything else is one of its `fields`.
pub(super) const COLUMNS: [&str; 7] =
    ["external_id", "name", "title", "company", "linkedin_url", "email", "email_verified"];

/// A lead in the shape that providers get.
pub fn lead_json(lead: &Lead, workspace: i64) -> Value {
    json!({
        "id": id::inside("lead", workspace, lead.id),
        "external_id": lead.external_id,
        "name": lead.name,
        "title": lead.title,
        "company": lead.company,
        "linkedin_url": lead.linkedin_url,
        "email": lead.email,
        "email_verified": lead.email_state == EmailState::Verified,
        "fields": lead.fields,
    })
}

/// A search result as a lead; `None` when nothing in it can identify one. What does not fit is left out or cut.
pub fn lead_from_json(result: &Value) -> Option<Lead> {
    let mut draft = Draft::default();
    for (name, value) in result.as_object()? {
        match (name.as_str(), value) {
            ("email_verified", value) => draft.verified = value.as_bool() == Some(true),
            ("fields", Value::Object(fields)) => {
                for (name, value) in fields {
                    let _ = draft.field(name, value.clone());
                }
            }
            (name, value) if COLUMNS.contains(&name) => {
                let text = match value {
                    Value::String(text) => tidy(text),
                    Value::Number(number) => number.to_string(),
                    _ => continue,
                };
                let _ = draft.text(name, &text);
            }
            (name, value) => {
                let _ = draft.field(name, value.clone());
            }
        }
    }
    draft.finish().ok()
}

/// Text of a provider as one line of a length that fits.
pub fn tidy(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    // An over-long URL must not be cut into another one: it is refused by its length instead.
    if line.contains("://") { line } else { line.chars().take(MAX_TEXT).collect() }
}

/// A lead that is being read.
#[derive(Default)]
pub(super) struct Draft {
    lead: Lead,
    pub(super) verified: bool,
}

impl Draft {
    /// Sets one of the lead's own texts; the error says what it must be. Empty text is no text.
    pub(super) fn text(&mut self, column: &str, text: &str) -> Result<(), String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        let lead = &mut self.lead;
        match column {
            "email" => lead.email = Some(address(text)?),
            "linkedin_url" => lead.linkedin_url = Some(link(text)?),
            _ => {
                line(text, MAX_TEXT)?;
                match column {
                    "external_id" => lead.external_id = Some(text.to_owned()),
                    "name" => text.clone_into(&mut lead.name),
                    "title" => text.clone_into(&mut lead.title),
                    _ => text.clone_into(&mut lead.company),
                }
            }
        }
        Ok(())
    }

    /// Sets one of the other fields. Null and empty text are no value.
    pub(super) fn field(&mut self, name: &str, value: Value) -> Result<(), String> {
        check_field_name(name)?;
        if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Ok(());
        }
        let strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if value.as_str().is_some_and(|text| text.contains(strange)) {
            return Err("must not contain control characters".to_owned());
        }
        if value.to_string().len() > MAX_FIELD {
            return Err(format!("has at most {MAX_FIELD} bytes"));
        }
        if self.lead.fields.len() >= MAX_FIELDS && !self.lead.fields.contains_key(name) {
            return Err(format!("a lead has at most {MAX_FIELDS} fields"));
        }
        self.lead.fields.insert(name.to_owned(), value);
        Ok(())
    }

    /// The lead, if there is something to know it by.
    pub(super) fn finish(mut self) -> Result<Lead, &'static str> {
        let lead = &mut self.lead;
        let nameless = lead.name.is_empty() && lead.external_id.is_none();
        if nameless && lead.email.is_none() && lead.linkedin_url.is_none() {
            return Err("a lead needs a name, an address or an external_id");
        }
        lead.email_state = match (&lead.email, self.verified) {
            (None, _) => EmailState::None,
            (Some(_), true) => EmailState::Verified,
            (Some(_), false) => EmailState::Imported,
        };
        Ok(self.lead)
    }
}

/// Whether a value can be kept as a field of a lead.
pub fn fits(name: &str, value: &Value) -> bool {
    Draft::default().field(name, value.clone()).is_ok()
}

/// Whether a name can be the name of a field.
pub(super) fn check_field_name(name: &str) -> Result<(), String> {
    if COLUMNS.contains(&name) {
        return Err("belongs beside `fields`, not into it".to_owned());
    }
    if name.trim().is_empty() || name.contains(['{', '}']) {
        return Err("a field's name must not be empty or contain braces".to_owned());
    }
    line(name, MAX_FIELD_NAME)
}

/// An e-mail address in the one spelling that is stored: lower case.
pub fn address(text: &str) -> Result<String, String> {
    // Not even within quotes may it hold what could begin another header.
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let valid = text.len() <= 254 && plain && text.parse::<lettre::Address>().is_ok();
    if valid { Ok(text.to_ascii_lowercase()) } else { Err("must be an e-mail address".to_owned()) }
}

/// An http or https URL in the one spelling that is stored: without a slash at its end.
pub fn link(text: &str) -> Result<String, String> {
    if text.len() > MAX_URL {
        return Err(format!("has at most {MAX_URL} bytes"));
    }
    let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match Url::parse(text).ok().filter(web) {
        Some(_) if plain => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("must be an http or https URL".to_owned()),
    }
}

/// An entry of the blocklist as it is compared: an address, a domain, or a LinkedIn URL.
pub fn block_entry(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains("://") {
        return link(text);
    }
    let domain = text.strip_prefix('@').unwrap_or(text);
    if domain.contains('@') {
        return address(domain);
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let valid = domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label);
    if valid {
        Ok(domain.to_ascii_lowercase())
    } else {
        Err("must be an e-mail address, a domain or an http or https URL".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_result_is_read_tolerantly() {
        let lead = lead_from_json(&json!({
            "external_id": 7, "name": " Ada\nLovelace ", "email": "ADA@Example.com", "linkedin_url": "ftp://x",
            "title": null, "seniority": "head", "fields": {"industry": "Software", "empty": "", "name": "no"}
        }));
        let lead = lead.expect("a lead");
        assert_eq!((lead.external_id.as_deref(), lead.name.as_str()), (Some("7"), "Ada Lovelace"));
        assert_eq!(lead.email.as_deref(), Some("ada@example.com"));
        assert_eq!((lead.email_state, lead.linkedin_url.clone()), (EmailState::Imported, None));
        assert_eq!(lead.fields.keys().map(String::as_str).collect::<Vec<_>>(), ["industry", "seniority"]);
        let verified = lead_from_json(&json!({"email_verified": true, "email": "a@b.co"})).expect("a lead");
        assert_eq!(verified.email_state, EmailState::Verified);
        for nothing in [json!({}), json!("x"), json!({"title": "CTO"}), json!({"email": "nope"})] {
            assert!(lead_from_json(&nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn blocklist_entries_have_one_spelling() {
        let table = [
            (" Ada@Example.com ", Some("ada@example.com")),
            ("@Example.COM", Some("example.com")),
            ("sub.example.com", Some("sub.example.com")),
            ("https://www.linkedin.com/in/ada/", Some("https://www.linkedin.com/in/ada")),
            ("example", None),
            ("", None),
            ("a b.com", None),
            ("-a.com", None),
            ("ftp://example.com", None),
        ];
        for (entry, expected) in table {
            assert_eq!(block_entry(entry).ok().as_deref(), expected, "{entry}");
        }
    }
}
