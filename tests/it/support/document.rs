//! Checks that `openapi.json` describes an answer: its status, its media type, its headers and its body. Every request of the tests to
//! the router passes here, so an answer without a description fails the test that gets it.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request},
};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::Answer;

/// Headers that an answer has only for some requests.
const OPTIONAL: [&str; 3] = ["Preference-Applied", "Repr-Digest", "Retry-After"];

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../openapi.json")).unwrap());
/// The schemas of all components, which accept only fields that they describe.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| strict(DOCUMENT["components"].clone()));
/// The validators by the text of their schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// A request, as far as the document describes it.
pub(crate) struct Asked {
    method: Method,
    path: String,
    operation: Option<&'static Value>,
}

impl Asked {
    pub(crate) fn of(request: &Request<Body>) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let operation = operation(&method, &path).filter(|_| !is_resumable(request.headers()));
        Self { method, path, operation }
    }

    /// Fails if the document does not describe the answer.
    pub(crate) fn check(&self, answer: &Answer) {
        let Some(operation) = self.operation else { return };
        let Self { method, path, .. } = self;
        let status = answer.status.as_u16();
        let described = resolve(&operation["responses"][status.to_string()]);
        assert!(!described.is_null(), "openapi.json has no {status} for {method} {path}: {}", answer.text());
        for name in described["headers"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            let is_present = answer.headers.contains_key(name) || OPTIONAL.contains(&name.as_str());
            assert!(is_present, "{method} {path} has no {name}: {answer:?}");
        }
        if *method == Method::HEAD || answer.bytes.is_empty() {
            return;
        }
        let media_type = answer.header("content-type");
        let content = &described["content"];
        if !content["*/*"].is_null() {
            return;
        }
        let content = &content[media_type];
        assert!(!content.is_null(), "openapi.json has no {media_type} for {status} of {method} {path}");
        if media_type.ends_with("json") {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&answer.bytes).is_ok();
            assert!(is_json, "{method} {path}, {status}: no JSON: {}", answer.text());
            // `Value` has no room for some numbers in metadata.
            let Ok(body) = serde_json::from_slice(&answer.bytes) else { return };
            let validator = validator(&content["schema"]);
            let errors: Vec<_> =
                validator.iter_errors(&body).map(|error| format!("{error} at {}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{method} {path}, {status}: {errors:#?} in {}", answer.text());
        }
    }
}

/// Whether the request speaks the protocol of the IETF, which the document does not describe.
fn is_resumable(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("upload-") && name != "upload-length")
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(template, _)| matches(template, path))?;
    item.get(method)
}

fn matches(template: &str, path: &str) -> bool {
    let (mut names, mut values) = (template.split('/'), path.split('/'));
    let fits = |name: &str, value: &str| name == value || (name.starts_with('{') && !value.is_empty());
    names.by_ref().zip(values.by_ref()).all(|(name, value)| fits(name, value))
        && template.split('/').count() == path.split('/').count()
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn validator(schema: &Value) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap();
    let build = || {
        let mut whole = json!({ "allOf": [schema], "unevaluatedProperties": false });
        whole["components"] = COMPONENTS.clone();
        Arc::new(jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap())
    };
    Arc::clone(validators.entry(schema.to_string()).or_insert_with(build))
}

/// Makes each property and item with a schema of its own refuse fields that the schema does not describe.
fn strict(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                *value = strict(value.take());
                let nested = match key.as_str() {
                    "properties" => value.as_object_mut().unwrap().values_mut().collect(),
                    "items" => vec![value],
                    _ => Vec::new(),
                };
                for schema in nested.into_iter().filter(|schema| schema.get("$ref").is_some()) {
                    schema["unevaluatedProperties"] = false.into();
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = strict(item.take())),
        _ => {}
    }
    schema
}
