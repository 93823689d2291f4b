//! The synthetic world behind the HTTP fakes: which leads there are, and what can be found out about them.
//!
//! It owns the answers. It does not listen and remembers nothing.
//!
//! Invariant: an answer is a function of the question alone.

use serde_json::{Value, json};

/// How many results one page holds at most.
const PAGE: u64 = 50;
/// How many results a query has if it does not say so itself with `total`.
const TOTAL: u64 = 1_000;

/// The answer to one call of `/discovery`, and what to call its outcome; `None`: the question cannot be read.
pub(super) fn discovery(call: &Value) -> Option<(Value, &'static str)> {
    let noun = if call["kind"] == "clues" { "clue" } else { "lead" };
    let offset: u64 = match call["cursor"].as_str() {
        Some(cursor) => cursor.parse().ok()?,
        None => 0,
    };
    let query = &call["query"];
    let total = query["total"].as_u64().unwrap_or(TOTAL);
    let first = query["first"].as_u64().unwrap_or(1);
    let end = (offset + call["limit"].as_u64()?.min(PAGE)).min(total);
    let results: Vec<Value> = (offset..end).map(|index| entry(noun, first + index)).collect();
    let outcome = if results.is_empty() { "empty" } else { "found" };
    let next_cursor = (end < total && end > offset).then(|| end.to_string());
    Some((json!({"results": results, "next_cursor": next_cursor}), outcome))
}

/// The answer to one call of `/enrichment`.
pub(super) fn enrichment(call: &Value) -> Option<(Value, &'static str)> {
    let lead = &call["lead"];
    let name = lead["external_id"].as_str().or(lead["name"].as_str())?;
    match call["do"].as_str()? {
        "contact" => {
            let chance = percent("contact", name);
            if chance >= 80 {
                return Some((json!({"found": false}), "not_found"));
            }
            // A few of the found ones are guesses, so that "found but free" can be seen too.
            let verified = chance < 76;
            let answer = json!({"found": true, "email": address(lead), "verified": verified});
            Some((answer, if verified { "found" } else { "unverified" }))
        }
        "field" => {
            let field = call["field"].as_str()?;
            let (share, values) = field_values(field);
            if percent(field, name) >= share {
                return Some((json!({"found": false}), "not_found"));
            }
            let index = hash(&format!("value {field} {name}")) % values.len() as u64;
            Some((json!({"found": true, "value": values[index as usize]}), "found"))
        }
        _ => None,
    }
}

/// The answer to one call of `/linkedin`.
pub(super) fn linkedin(call: &Value) -> Option<(Value, &'static str)> {
    let lead = &call["lead"];
    let name = lead["external_id"].as_str().or(lead["name"].as_str())?;
    let action = call["do"].as_str().filter(|action| matches!(*action, "invite" | "message"))?;
    if action == "message" && percent("connected", name) >= 90 {
        return Some((json!({"accepted": false, "reason": "not_connected"}), "not_accepted"));
    }
    let id = format!("li-{:016x}", hash(&format!("{action} {name}")));
    Some((json!({"accepted": true, "id": id}), "accepted"))
}

/// The answer to one call of `/v1/chat/completions`.
pub(super) fn completion(call: &Value) -> Option<(Value, &'static str)> {
    let messages = call["messages"].as_array()?;
    let prompt = messages.iter().rev().find(|message| message["role"] == "user")?["content"].as_str()?;
    let topic: String = prompt.lines().next().unwrap_or_default().chars().take(120).collect();
    let openings = ["A short note about", "I have been reading about", "One thought on"];
    let opening = openings[(hash(prompt) % openings.len() as u64) as usize];
    let asked = prompt.lines().find_map(|line| line.strip_prefix("Our call to action: "));
    let asked = asked.unwrap_or("Would a short call next week suit you?");
    let text = format!("Hello,\n\n{opening} {topic}\n\n{asked}");
    let answer = json!({
        "id": format!("chatcmpl-{:016x}", hash(prompt)),
        "object": "chat.completion",
        "model": call["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4},
    });
    Some((answer, "written"))
}

fn entry(noun: &str, number: u64) -> Value {
    let titles = ["Head of Sales", "Chief Executive", "Marketing Lead", "Operations Manager"];
    let label = if noun == "clue" { "Clue" } else { "Lead" };
    json!({
        "external_id": format!("{noun}-{number:04}"),
        "name": format!("{label} {number:04}"),
        "title": titles[(number % titles.len() as u64) as usize],
        "company": format!("Company {:03}", number % 1000),
        "linkedin_url": format!("https://www.linkedin.example.com/in/{noun}-{number:04}"),
    })
}

/// `Lead 0001` becomes `lead0001@example.com`.
fn address(lead: &Value) -> String {
    let name = lead["name"].as_str().or(lead["external_id"].as_str()).unwrap_or_default();
    let letters = name.chars().filter(char::is_ascii_alphanumeric).take(60);
    let local: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    format!("{}@example.com", if local.is_empty() { "unnamed" } else { &local })
}

/// For how many leads of a hundred a field can be filled, and with what.
fn field_values(field: &str) -> (u64, &'static [&'static str]) {
    match field {
        "company_size" => (70, &["1-10", "11-50", "51-200", "201-500"]),
        "industry" => (85, &["Software", "Logistics", "Retail", "Energy"]),
        "seniority" => (90, &["Manager", "Director", "Executive"]),
        _ => (60, &["Sample value A", "Sample value B"]),
    }
}

fn percent(question: &str, name: &str) -> u64 {
    hash(&format!("{question} {name}")) % 100
}

/// FNV-1a with a final mix: the same on every machine, and evenly spread for names that differ in one digit.
fn hash(text: &str) -> u64 {
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
