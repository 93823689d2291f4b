//! The balance inside another product's pages.

use askama::Template;

use super::format::Figure;
use super::shell::State;

/// Whose colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// What the reader's system asks for.
    Reader,
    Light,
    Dark,
}

#[derive(Debug, Clone, Template)]
#[template(path = "embed.html")]
pub struct EmbeddedChip {
    /// State and what is available; `None` when it may not be shown.
    pub balance: Option<(State, i64)>,
    pub theme: Theme,
}
