use crate::store::{jobs::Job, leads::Lead};
pub fn lead_from_json(_: &serde_json::Value) -> Option<Lead> { None }
pub fn lead_json(_: &Lead, _: i64) -> serde_json::Value { serde_json::Value::Null }
pub fn prompt(_: &Job, _: usize, _: &Lead) -> (String, String) { Default::default() }
pub fn render(_: &str, _: &Lead) -> String { String::new() }
