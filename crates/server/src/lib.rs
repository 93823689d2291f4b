pub mod catalog;
mod toml_reader;
