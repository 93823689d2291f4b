pub mod catalog;
pub mod config;
mod toml_reader;
