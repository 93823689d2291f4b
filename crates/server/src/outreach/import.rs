//! Leads from JSON rows or a CSV file: the good rows as leads, each bad one with its place and what is wrong with it. Pure.

use serde_json::Value;

use super::Fault;
use super::lead::{COLUMNS, Draft, check_field_name};
use crate::store::leads::Lead;

/// How many leads one import takes.
pub const MAX_LEADS: usize = 10_000;
/// How many columns a CSV file has at most.
const MAX_COLUMNS: usize = 100;
/// How much of a name that cannot be a column's is repeated to the person who wrote it, in characters.
const MAX_ECHO: usize = 64;

/// What is said of a column that a lead has not itself.
pub const KEPT_AS_FIELD: &str = "is no column of a lead: its cells are kept among `fields` under this name";

const NOT_UTF_8: &str = "is not UTF-8: save the file as CSV in UTF-8";

/// What an import contains.
#[derive(Debug, Default)]
pub struct Import {
    pub leads: Vec<Lead>,
    pub rejected: Vec<Rejected>,
    /// CSV: the columns that a lead has not itself, and that are kept among its fields.
    pub fields: Vec<String>,
}

/// A row that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// JSON: the row, from 1. CSV: the line of the file on which it begins; the header is line 1.
    pub row: u64,
    /// The column, or `None` when it is about the whole row.
    pub field: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

type Bad = (Option<String>, String);

impl Import {
    fn add(&mut self, row: u64, read: Result<Lead, Bad>) {
        match read {
            Ok(lead) => self.leads.push(lead),
            Err((field, reason)) => self.rejected.push(Rejected { row, field, reason }),
        }
    }

    fn is_full(&self) -> bool {
        self.leads.len() + self.rejected.len() >= MAX_LEADS
    }
}

/// Reads rows of JSON.
///
/// # Errors
/// When there are too many.
pub fn from_json(rows: &[Value]) -> Result<Import, Fault> {
    if rows.len() > MAX_LEADS {
        return Err(too_many());
    }
    let mut import = Import::default();
    for (row, value) in (1..).zip(rows) {
        import.add(row, json_row(value));
    }
    Ok(import)
}

fn json_row(row: &Value) -> Result<Lead, Bad> {
    let Value::Object(row) = row else { return Err((None, "must be an object".to_owned())) };
    let mut draft = Draft::default();
    for (name, value) in row {
        let bad = |reason: &str| (Some(name.clone()), reason.to_owned());
        match (name.as_str(), value) {
            (name, Value::Null) if name == "fields" || COLUMNS.contains(&name) => {}
            ("email_verified", Value::Bool(verified)) => draft.verified = *verified,
            ("email_verified", _) => return Err(bad("must be true or false")),
            ("fields", Value::Object(fields)) => {
                for (name, value) in fields {
                    let place = || Some(format!("fields.{name}"));
                    draft.field(name, value.clone()).map_err(|reason| (place(), reason))?;
                }
            }
            ("fields", _) => return Err(bad("must be an object")),
            (column, Value::String(text)) if COLUMNS.contains(&column) => {
                draft.text(column, text).map_err(|reason| bad(&reason))?;
            }
            (column, _) if COLUMNS.contains(&column) => return Err(bad("must be text")),
            _ => return Err(bad("there is no such field; put it into `fields`")),
        }
    }
    draft.finish().map_err(|reason| (None, reason.to_owned()))
}

/// Reads a CSV file with a header line.
///
/// # Errors
/// When the file as a whole cannot be read: it is empty, its header is not usable, or it is too long.
pub fn from_csv(bytes: &[u8]) -> Result<Import, Fault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Every second byte of a file in UTF-16 that is mostly ASCII is zero.
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.iter().take(4).any(|b| *b == 0)
    {
        return Err(Fault::new("leads", "the file is UTF-16: save it as CSV in UTF-8"));
    }
    if let Some(line) = unclosed(bytes) {
        let reason = format!(
            "the quote that is opened in line {line} is never closed, and would take in all lines after it"
        );
        return Err(Fault::new("leads", reason));
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut read = |record: &mut csv::ByteRecord| {
        reader.read_byte_record(record).map_err(|error| Fault::new("leads", error.to_string()))
    };
    if !read(&mut record)? {
        return Err(Fault::new("leads", "the file is empty: it needs a header line"));
    }
    let columns = header(&record)?;
    let fields = columns.iter().filter(|name| !COLUMNS.contains(&name.as_str())).cloned().collect();
    let mut import = Import { fields, ..Import::default() };
    let mut lines = Lines { bytes, at: 0, line: 1 };
    while read(&mut record)? {
        if import.is_full() {
            return Err(too_many());
        }
        let begin = record.position().map_or(0, |position| position.byte());
        import.add(lines.line_of(begin), csv_row(&columns, &record));
    }
    Ok(import)
}

/// The line in which a quote is opened that is never closed.
fn unclosed(bytes: &[u8]) -> Option<u64> {
    enum Cell {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let (mut cell, mut line, mut opened) = (Cell::Start, 1, 1);
    for byte in bytes {
        cell = match (cell, byte) {
            (Cell::Start, b'"') => {
                opened = line;
                Cell::Quoted
            }
            (Cell::Quoted, b'"') => Cell::Closed,
            // A doubled quote is one that belongs to the text.
            (Cell::Closed, b'"') | (Cell::Quoted, _) => Cell::Quoted,
            (_, b',' | b'\n' | b'\r') => Cell::Start,
            _ => Cell::Plain,
        };
        line += u64::from(*byte == b'\n');
    }
    matches!(cell, Cell::Quoted).then_some(opened)
}

fn header(record: &csv::ByteRecord) -> Result<Vec<String>, Fault> {
    let fault = |reason: String| Fault::new("header", reason);
    if record.len() > MAX_COLUMNS {
        return Err(fault(format!("has at most {MAX_COLUMNS} columns")));
    }
    let mut columns: Vec<String> = Vec::with_capacity(record.len());
    for cell in record {
        let name = std::str::from_utf8(cell).map_err(|_| fault(NOT_UTF_8.to_owned()))?.trim();
        if record.len() == 1 && name.contains([';', '\t']) {
            return Err(fault("needs commas between its cells, like every line after it".to_owned()));
        }
        let name = match name.to_lowercase().replace(' ', "_") {
            known if COLUMNS.contains(&known.as_str()) => known,
            _ => {
                let begin = || name.chars().take(MAX_ECHO).collect::<String>();
                check_field_name(name).map_err(|reason| fault(format!("{:?}: {reason}", begin())))?;
                name.to_owned()
            }
        };
        if columns.contains(&name) {
            return Err(fault(format!("names {name} twice")));
        }
        columns.push(name);
    }
    if !columns.iter().any(|name| COLUMNS.contains(&name.as_str())) {
        return Err(fault(format!("names none of {}", COLUMNS.join(", "))));
    }
    Ok(columns)
}

fn csv_row(columns: &[String], record: &csv::ByteRecord) -> Result<Lead, Bad> {
    if record.len() != columns.len() {
        let reason = format!("has {} cells, the header has {}", record.len(), columns.len());
        return Err((None, reason));
    }
    let mut draft = Draft::default();
    for (column, cell) in columns.iter().zip(record) {
        let bad = |reason: String| (Some(column.clone()), reason);
        let text = std::str::from_utf8(cell).map_err(|_| bad(NOT_UTF_8.to_owned()))?.trim();
        match column.as_str() {
            "email_verified" => draft.verified = truth(text).map_err(|reason| bad(reason.to_owned()))?,
            known if COLUMNS.contains(&known) => draft.text(known, text).map_err(bad)?,
            other => draft.field(other, Value::String(text.to_owned())).map_err(bad)?,
        }
    }
    draft.finish().map_err(|reason| (None, reason.to_owned()))
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" | "" => Ok(false),
        _ => Err("must be true or false"),
    }
}

fn too_many() -> Fault {
    Fault::new("leads", format!("has more than {MAX_LEADS} rows: add them in several parts"))
}

/// Counts lines up to a place in the file. The reader's own count takes a blank line for the beginning of the next record.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that begins at or after `begin`, which only rises.
    fn line_of(&mut self, begin: u64) -> u64 {
        let begin = usize::try_from(begin).unwrap_or(usize::MAX).min(self.bytes.len());
        let blank = self.bytes[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.bytes[self.at..begin + blank];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = begin + blank;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leads::EmailState;
    use serde_json::json;

    fn rejected(import: &Import) -> Vec<(u64, Option<&str>)> {
        import.rejected.iter().map(|bad| (bad.row, bad.field.as_deref())).collect()
    }

    #[test]
    fn bad_csv_rows_are_named_by_line_and_column() {
        let long = "x".repeat(201);
        let file = format!(
            "\u{feff}Name,email,LinkedIn URL,email_verified,Team Size\r\n\
             Ada,ADA@Example.com,https://l.example/in/ada/,yes,12\r\n\
             \r\n\
             Bob,not an address,,,\r\n\
             Cy,cy@example.com,javascript:alert(1),,\n\
             \"Two\nlines\",d@example.com,,,\n\
             Eve,e@example.com\n\
             ,,,,3\n\
             {long},,,,\n\
             Gil,g@example.com,,perhaps,\n\
             Hal,h@example.com,,,\n"
        );
        let import = from_csv(file.as_bytes()).expect("a file");
        let expected = [
            (4, Some("email")),
            (5, Some("linkedin_url")),
            (6, Some("name")),
            (8, None),
            (9, None),
            (10, Some("name")),
            (11, Some("email_verified")),
        ];
        assert_eq!(rejected(&import), expected);
        let [ada, hal] = &import.leads[..] else { panic!("{:?}", import.leads) };
        assert_eq!((ada.email.as_deref(), ada.email_state), (Some("ada@example.com"), EmailState::Verified));
        assert_eq!(ada.linkedin_url.as_deref(), Some("https://l.example/in/ada"));
        assert_eq!(ada.fields.get("Team Size"), Some(&json!("12")));
        assert_eq!((hal.email_state, hal.fields.len()), (EmailState::Imported, 0));
    }

    #[test]
    fn a_csv_cell_that_is_not_utf_8_is_named() {
        let import = from_csv(b"name,title\nAda,\xff\nBob,CTO\n").expect("a file");
        assert_eq!(rejected(&import), [(2, Some("title"))]);
        assert_eq!(import.leads.len(), 1);
    }

    #[test]
    fn an_unusable_file_is_refused_as_a_whole() {
        let many = format!("name\n{}", "Ada\n".repeat(MAX_LEADS + 1));
        let wide = format!("name,{}", (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        let table: [(&[u8], &str); 8] = [
            (b"", "leads"),
            (b"\r\n\n", "leads"),
            (b"name,email,Name\nAda,,\n", "header"),
            (b"name,,email\n", "header"),
            (b"first;second\nAda;Bob\n", "header"),
            (b"name,\xff\n", "header"),
            (wide.as_bytes(), "header"),
            (many.as_bytes(), "leads"),
        ];
        for (file, field) in table {
            let fault = from_csv(file).expect_err("refused");
            assert_eq!(fault.field, field, "{fault:?}");
        }
        let full = format!("name\n{}", "Ada\n".repeat(MAX_LEADS));
        assert_eq!(from_csv(full.as_bytes()).expect("a full file").leads.len(), MAX_LEADS);
    }

    #[test]
    fn bad_json_rows_are_named_by_number_and_field() {
        let rows = [
            json!({"name": "Ada", "email": "Ada@example.com", "fields": {"size": 3}, "title": null}),
            json!("Bob"),
            json!({"name": 7}),
            json!({"name": "Cy", "emial": "x"}),
            json!({"name": "Di", "fields": {"email": "x"}}),
            json!({"name": "Ed", "email_verified": "yes"}),
            json!({"title": "CTO"}),
            json!({"external_id": "x-1"}),
        ];
        let import = from_json(&rows).expect("rows");
        let expected = [
            (2, None),
            (3, Some("name")),
            (4, Some("emial")),
            (5, Some("fields.email")),
            (6, Some("email_verified")),
            (7, None),
        ];
        assert_eq!(rejected(&import), expected);
        assert_eq!(import.leads.len(), 2);
        assert!(from_json(&vec![json!({"name": "Ada"}); MAX_LEADS + 1]).is_err());
    }
}
