//! Writes messages with any server that speaks the OpenAI chat-completions format.
//!
//! It owns that request and what counts as a valid message. Statuses and retries are `post`'s.
//!
//! Invariant: only a complete, non-empty message that was not refused is `Done`.

use serde::Deserialize;
use serde_json::json;

use super::Outcome;
use super::post::{Effect, Endpoint};
use crate::config::MessagesConfig;

/// A model that writes messages.
#[derive(Debug)]
pub struct MessageWriter {
    endpoint: Endpoint,
    model: String,
}

impl MessageWriter {
    /// Builds the client; connects to nothing.
    pub fn new(config: &MessagesConfig) -> Result<MessageWriter, String> {
        let url = format!("{}/chat/completions", config.base_url);
        let endpoint = Endpoint::new("messages", &url, config.token.clone(), true, config.timeout)?;
        Ok(MessageWriter { endpoint, model: config.model.clone() })
    }

    /// Writes one message. Never `Unknown`: a message that did not arrive here cannot be stored, sent or charged,
    /// so a lost answer is `TryLater`.
    pub async fn write(&self, instructions: &str, prompt: &str, key: &str) -> Outcome<String> {
        let body = json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": prompt},
            ],
        });
        self.endpoint.post(Effect::None, &body, Some(key), read).await
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

fn read(body: &[u8]) -> Option<Result<String, String>> {
    let completion: Completion = serde_json::from_slice(body).ok()?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Some(Err("wrote no message".into()));
    };
    if choice.message.refusal.is_some_and(|refusal| !refusal.is_empty()) {
        return Some(Err("refused to write this message".into()));
    }
    match choice.finish_reason.as_deref() {
        Some("content_filter") => return Some(Err("refused to write this message".into())),
        Some("length") => return Some(Err("wrote a message that was cut off".into())),
        _ => {}
    }
    let text = choice.message.content.unwrap_or_default().trim().to_owned();
    Some(if text.is_empty() { Err("wrote an empty message".into()) } else { Ok(text) })
}
