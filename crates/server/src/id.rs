//! Ids as callers see them: a prefix, the workspace, and the number inside the workspace.
//!
//! Owns the writing and reading of ids. An id that is not written exactly as we would write it does not exist.
//!
//! Invariant: `parse(prefix, render(prefix, a, b)) == Some((a, b))`, and nothing else parses to it.

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// What each byte is worth as a digit; -1 for what is none.
const VALUES: [i8; 256] = {
    let mut values = [-1; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as i8;
        digit += 1;
    }
    values
};
const WORKSPACE_DIGITS: usize = 13;

/// `ws_` and 13 digits in base 32.
pub fn workspace(id: i64) -> String {
    let mut text = String::with_capacity(3 + WORKSPACE_DIGITS);
    text.push_str("ws_");
    push(&mut text, id, WORKSPACE_DIGITS);
    text
}

/// Reads a workspace id.
pub fn parse_workspace(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("ws_")?;
    (digits.len() == WORKSPACE_DIGITS).then(|| number(digits)).flatten()
}

/// An id inside a workspace: prefix, `_`, 13 digits of the workspace, then the number.
pub fn inside(prefix: &str, workspace: i64, id: i64) -> String {
    let mut text = String::with_capacity(prefix.len() + 1 + 2 * WORKSPACE_DIGITS);
    text.push_str(prefix);
    text.push('_');
    push(&mut text, workspace, WORKSPACE_DIGITS);
    push(&mut text, id, 1);
    text
}

/// Reads an id inside a workspace: (workspace, number).
pub fn parse_inside(prefix: &str, text: &str) -> Option<(i64, i64)> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('_')?;
    if !digits.is_ascii() || digits.len() <= WORKSPACE_DIGITS {
        return None;
    }
    let (workspace, id) = digits.split_at(WORKSPACE_DIGITS);
    let canonical = id == "0" || !id.starts_with('0');
    canonical.then_some(())?;
    Some((number(workspace)?, number(id)?))
}

fn push(text: &mut String, id: i64, least: usize) {
    let digits = (64 - id.leading_zeros() as usize).div_ceil(5).max(least);
    for place in (0..digits).rev() {
        let digit = if place * 5 >= 64 { 0 } else { (id >> (place * 5)) & 31 };
        text.push(char::from(DIGITS[digit as usize]));
    }
}

fn number(digits: &str) -> Option<i64> {
    let mut value: i64 = 0;
    for byte in digits.bytes() {
        let digit = VALUES[usize::from(byte)];
        if digit < 0 {
            return None;
        }
        value = value.checked_mul(32)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        for id in [0, 1, 31, 32, 1 << 40, i64::MAX] {
            assert_eq!(parse_workspace(&workspace(id)), Some(id));
            assert_eq!(parse_inside("hold", &inside("hold", 77, id)), Some((77, id)));
        }
        let good = inside("hold", 77, 12);
        let longer = format!("{}0c", &good[..good.len() - 1]);
        for bad in [
            "",
            "hold_",
            "ws_1",
            "hold_zzzzzzzzzzzzzzzz",
            "hold_é",
            &good.to_uppercase(),
            &longer,
            &good[..18],
        ] {
            assert_eq!(parse_inside("hold", bad), None, "{bad}");
        }
        assert_eq!(parse_inside("grant", &good), None);
    }
}
