//! Stripe's form encoding: `a[b][0]=c` is `{"a": {"b": ["c"]}}`. Every value is text.

use serde_json::{Map, Value};

/// Reads a body or a query.
pub fn parse(text: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let mut place = &mut root;
        for key in name.split('[').map(|part| part.trim_end_matches(']')) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let members = place.as_object_mut().expect("it was just made one");
            // `a[]` is the next one of a list.
            let key = if key.is_empty() { members.len().to_string() } else { key.to_owned() };
            place = members.entry(key).or_insert(Value::Null);
        }
        *place = Value::String(value.into_owned());
    }
    lists(root)
}

/// Objects whose names are 0, 1, 2 … are lists.
fn lists(value: Value) -> Value {
    let Value::Object(mut members) = value else { return value };
    let mut list = Vec::new();
    while let Some(item) = members.remove(&list.len().to_string()) {
        list.push(lists(item));
    }
    if members.is_empty() && !list.is_empty() {
        return Value::Array(list);
    }
    members.into_iter().map(|(name, value)| (name, lists(value))).collect()
}
