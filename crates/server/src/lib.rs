pub mod catalog;
pub mod config;
pub mod providers;
mod toml_reader;
