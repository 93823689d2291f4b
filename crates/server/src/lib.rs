pub mod catalog;
pub mod config;
pub mod demo;
pub mod providers;
mod toml_reader;
