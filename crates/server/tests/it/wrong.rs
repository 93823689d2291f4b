//! Every field of every request wrong in every way: always a refusal that names it, never a failure, and nothing is written.

use serde_json::{Map, Value, json};

use crate::http::{OPERATOR, Server};

#[tokio::test]
async fn every_field_wrong_in_every_way_is_a_named_refusal() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 50).await;
    let (document, operations) = server.operations().await;
    let mut checked = 0;
    for (method, path, operation) in operations {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let at = address(&path, &ws);
        let schema = resolve(&document, schema);
        let base: Map<String, Value> = properties(&schema)
            .iter()
            .map(|(name, schema)| (name.clone(), example(&document, schema)))
            .collect();
        let send = |body: String| server.send(OPERATOR, &method, &at, "matrix", body);
        assert_eq!(send("{".to_owned()).await.status, 400, "{method} {path}");
        for top in ["[]", "7", "\"x\"", "null"] {
            assert!(matches!(send(top.to_owned()).await.status, 400..=499), "{method} {path} {top}");
        }
        let mut unknown = base.clone();
        unknown.insert("zz_nonsense".to_owned(), json!(1));
        let got = send(Value::Object(unknown).to_string()).await;
        assert_eq!((got.status, &got.body["field"]), (422, &json!("zz_nonsense")), "{method} {path}");
        for (name, property) in properties(&schema) {
            let kind = kind_of(&example(&document, &property));
            for wrong in ["true", "\"2\"", "[7]", "{\"a\":1}", "1.5", "-1.5", "99999999999999999999", "1e309"]
            {
                let wrong_kind = wrong.parse::<Value>().map_or("too large", |value| kind_of(&value));
                if wrong_kind == kind {
                    continue;
                }
                let mut body = base.clone();
                body.insert(name.clone(), json!("@@"));
                let got = send(Value::Object(body).to_string().replace("\"@@\"", wrong)).await;
                let what = format!("{method} {path} {name} = {wrong}: {} {}", got.status, got.body);
                assert!(matches!(got.status, 400..=499) && got.body["code"].is_string(), "{what}");
                checked += 1;
                let field = got.body["field"].as_str().unwrap_or_default();
                assert!(got.status == 400 || field.starts_with(name.as_str()), "{what}");
            }
        }
    }
    assert!(checked > 300, "only {checked} mistakes were made");
    let entries = server.get(&format!("{ws}/entries")).await.about_a_workspace(200);
    assert_eq!(entries["items"].as_array().map(Vec::len), Some(1));
    server.audit();
}

/// Values of the right type that nobody sends by accident.
const EXTREME: [&str; 9] = [
    "\"\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\ud83d\\ude00\"",
    "\"@long@\"",
    "\"\"",
    "9223372036854775807",
    "-9223372036854775808",
    "0",
    "null",
];

#[tokio::test]
async fn extreme_values_are_taken_or_refused_and_never_fail() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 50).await;
    let (document, operations) = server.operations().await;
    let long = "x".repeat(100_000);
    let mut checked = 0;
    for (method, path, operation) in operations {
        let at = address(&path, &ws);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let schema = if schema.is_null() { Value::Null } else { resolve(&document, schema) };
        let base = example(&document, &schema);
        for (name, _) in properties(&schema) {
            for extreme in EXTREME.iter().filter(|_| path != "/v1/clock/advance") {
                let mut body = base.clone();
                body[&name] = json!("@@");
                let body = body.to_string().replace("\"@@\"", extreme).replace("@long@", &long);
                let got = server.send(OPERATOR, &method, &at, &format!("extreme-{checked}"), body).await;
                let lacks = got.body["code"] == "provider_not_configured";
                assert!(
                    got.status < 500 || lacks,
                    "{method} {path} {name} = {extreme}: {} {}",
                    got.status,
                    got.body
                );
                checked += 1;
            }
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        // A stream of events does not end.
        let is_read = method == "GET" && !path.ends_with("/events");
        for parameter in parameters.filter(|one| one["in"] == "query" && is_read) {
            for extreme in ["%00", "a%00b", "%F0%9F%98%80", "", "9223372036854775807", "-1", "0", "%25"] {
                let name = parameter["name"].as_str().expect("a name");
                let got = server.get(&format!("{at}?{name}={extreme}")).await;
                assert!(got.status < 500, "{path} {name} = {extreme}: {} {}", got.status, got.body);
                checked += 1;
            }
        }
    }
    assert!(checked > 500, "only {checked} extremes were sent");
    server.audit();
}

/// A path of the document with its parts filled in.
fn address(path: &str, ws: &str) -> String {
    let id = ws.rsplit('/').next().unwrap_or_default();
    path.replace("{ws}", id).replace("{id}", "nothing").replace("{key}", "nothing")
}

fn resolve(document: &Value, schema: &Value) -> Value {
    let one_of = ["oneOf", "anyOf", "allOf"].iter().find_map(|name| schema[*name].as_array());
    let schema = one_of.and_then(|all| all.iter().find(|one| one["type"] != "null")).unwrap_or(schema);
    match schema["$ref"].as_str() {
        Some(name) => resolve(document, document.pointer(&name[1..]).expect("every reference resolves")),
        None => schema.clone(),
    }
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

/// Any value of the right type.
fn example(document: &Value, schema: &Value) -> Value {
    let schema = resolve(document, schema);
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    let all: Vec<&str> = schema["type"]
        .as_str()
        .into_iter()
        .chain(schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    match all.into_iter().find(|one| *one != "null") {
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => properties(&schema)
            .iter()
            .map(|(name, schema)| (name.clone(), example(document, schema)))
            .collect(),
        _ => json!("x"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
