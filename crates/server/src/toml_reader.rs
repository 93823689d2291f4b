//! Reads a TOML document key by key, so that every complaint names its file, line and key.
//!
//! It owns the walk over a parsed document and the wording of the complaints. It does not read files and knows
//! no key by name: `catalog` and `config` say which keys there are and what they may hold.
//!
//! Invariant: every error is one line, `file:line: key: what is wrong`.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of a document, with what it takes to name one of its keys in an error.
#[derive(Clone)]
pub(crate) struct Table<'a> {
    file: &'a str,
    text: &'a str,
    path: String,
    start: usize,
    table: &'a DeTable<'a>,
}

/// Parses `text` and hands its root table to `read`. `file` is only the name used in errors.
pub(crate) fn read<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(Table) -> Result<T, String>,
) -> Result<T, String> {
    let parsed = DeTable::parse(text).map_err(|error| syntax_error(file, text, &error))?;
    read(Table { file, text, path: String::new(), start: 0, table: parsed.get_ref() })
}

impl<'a> Table<'a> {
    /// An error about `key` of this table, at the key's own line, or at the table's line if the key is missing.
    pub(crate) fn error(&self, key: &str, problem: &str) -> String {
        let start = match self.table.get_key_value(key) {
            Some((key, _)) => key.span().start,
            None => self.start,
        };
        complaint(self.file, self.text, start, &self.path_of(key), problem)
    }

    /// Refuses every key that is not in `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        let unknown = self.entries().find(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        match unknown {
            Some((key, _)) => {
                Err(self.error(key.get_ref(), &format!("unknown key (known here: {})", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// Text of 1 to `longest` characters without control characters; `None` when the key is missing.
    pub(crate) fn text(&self, key: &str, longest: usize) -> Result<Option<&'a str>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let problem = || self.error(key, &format!("must be text of 1 to {longest} characters"));
        let DeValue::String(text) = value.get_ref() else { return Err(problem()) };
        let fits = !text.trim().is_empty() && text.chars().count() <= longest;
        if fits && !text.chars().any(char::is_control) { Ok(Some(text)) } else { Err(problem()) }
    }

    /// A whole number within `range`; `must_be` completes "must be …" in the error.
    pub(crate) fn number(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        must_be: &str,
    ) -> Result<Option<i64>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.error(key, &format!("must be {must_be}"))),
        }
    }

    /// A decimal number as the document writes it, so that the caller can read it without rounding.
    pub(crate) fn decimal(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Integer(number)) if number.radix() == 10 => Ok(Some(number.as_str())),
            Some(DeValue::Float(number)) => Ok(Some(number.as_str())),
            Some(_) => Err(self.error(key, "must be a number")),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.value(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    /// A list of texts of at most 64 characters each.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, String> {
        let problem = || self.error(key, "must be a list of texts");
        let Some(value) = self.value(key) else { return Ok(None) };
        let DeValue::Array(items) = value.get_ref() else { return Err(problem()) };
        let texts = items.iter().map(|item| item.get_ref().as_str().filter(|text| text.len() <= 64));
        texts.collect::<Option<Vec<_>>>().map(Some).ok_or_else(problem)
    }

    /// A table inside this one.
    pub(crate) fn table(&self, key: &str) -> Result<Option<Table<'a>>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(self.child(self.path_of(key), value.span().start, table))),
            _ => Err(self.error(key, "must be a table")),
        }
    }

    /// `[[key]]`, or a single `[key]` as a list of one.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Table<'a>>, String> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else {
            return Ok(self.table(key)?.into_iter().collect());
        };
        let read = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| match item.get_ref() {
            DeValue::Table(table) => {
                Ok(self.child(format!("{}[{index}]", self.path_of(key)), item.span().start, table))
            }
            _ => Err(self.error(key, "must be a table or a list of tables")),
        };
        items.iter().enumerate().map(read).collect()
    }

    /// The tables inside this one with their names, in the order of the file.
    pub(crate) fn named_tables(&self) -> Result<Vec<(&'a str, Table<'a>)>, String> {
        let mut entries: Vec<_> = self.entries().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let names = entries.into_iter().map(|(key, _)| key.get_ref().as_ref());
        names.map(|name| Ok((name, self.table(name)?.expect("the name is a key of this table")))).collect()
    }

    fn entries(
        &self,
    ) -> impl Iterator<Item = (&'a Spanned<toml::de::DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.table.iter()
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn child(&self, path: String, start: usize, table: &'a DeTable<'a>) -> Table<'a> {
        Table { file: self.file, text: self.text, path, start, table }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim().trim_matches(['[', ']']);
    complaint(file, text, start, if key.is_empty() { "(no key)" } else { key }, error.message())
}

fn complaint(file: &str, text: &str, start: usize, key: &str, problem: &str) -> String {
    let line = text[..start].matches('\n').count() + 1;
    // A quoted key may hold a line break, which would make two lines of one error.
    format!("{file}:{line}: {key}: {problem}").replace(char::is_control, " ")
}
