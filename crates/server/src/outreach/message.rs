//! What the text of a message must be, whoever wrote it: a person, a model or a template. Pure.

use billing::campaign::Channel;

/// The longest e-mail, in characters.
const MAX_EMAIL: usize = 10_000;
/// The longest LinkedIn message, in characters.
const MAX_LINKEDIN_MESSAGE: usize = 8_000;
/// The longest note of a LinkedIn invitation, in characters.
const MAX_INVITE: usize = 300;

/// How many characters a message has at most on a channel.
pub fn longest(channel: Channel) -> usize {
    match channel {
        Channel::Email => MAX_EMAIL,
        Channel::LinkedinInvite => MAX_INVITE,
        Channel::LinkedinMessage => MAX_LINKEDIN_MESSAGE,
    }
}

/// The text as it is stored and sent: `\n` ends its lines, and nothing in it is invisible but spaces and tabs.
///
/// # Errors
/// What it must be.
pub fn check_text(channel: Channel, text: &str) -> Result<String, String> {
    let text = tidy(text);
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let longest = longest(channel);
    if text.chars().count() > longest {
        return Err(format!("has at most {longest} characters"));
    }
    Ok(text)
}

fn tidy(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let shown = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || is_direction(*c));
    lines.chars().filter(shown).collect::<String>().trim().to_owned()
}

/// Characters that make a reader see another order of letters than is there.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_a_length_and_nothing_invisible() {
        let table = [
            (Channel::Email, "  Hello\r\nLead\r0001 ", Ok("Hello\nLead\n0001")),
            (Channel::Email, "a\0b\u{202e}c\u{1b}[2J", Ok("abc[2J")),
            (Channel::Email, " \n\u{7f}", Err("must not be empty")),
        ];
        for (channel, text, expected) in table {
            let checked = check_text(channel, text);
            assert_eq!(checked.as_deref().map_err(String::as_str), expected, "{text:?}");
        }
        for (channel, most) in
            [(Channel::Email, 10_000), (Channel::LinkedinInvite, 300), (Channel::LinkedinMessage, 8_000)]
        {
            assert!(check_text(channel, &"ü".repeat(most)).is_ok());
            assert_eq!(
                check_text(channel, &"ü".repeat(most + 1)),
                Err(format!("has at most {most} characters"))
            );
        }
    }
}
