//! Text in CSV files. A spreadsheet takes a cell that starts like a formula for one and runs it: such a cell is made text.

/// A CSV cell that no spreadsheet takes for a formula.
pub fn cell(text: &str) -> String {
    let risky =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '\t' | '\r' | '\n' | '\0');
    if text.starts_with(risky) { format!("'{text}") } else { text.to_owned() }
}
