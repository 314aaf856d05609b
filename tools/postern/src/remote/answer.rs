//! What a command prints: text for people, or one JSON object for scripts.

use serde_json::{Map, Value, json};

use super::failure::Failure;

/// Version of the JSON: rises when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Fields of the JSON object.
    pub fields: Value,
    /// For people, on standard output.
    pub text: String,
    /// For people, on standard error.
    pub note: String,
    /// Exit status.
    pub exit_status: u8,
}

impl Answer {
    /// Done, with something to show.
    pub fn show(fields: Value, text: impl Into<String>) -> Self {
        Self { fields, text: text.into(), note: String::new(), exit_status: 0 }
    }

    /// Done, with a word about it.
    pub fn done(fields: Value, note: impl Into<String>) -> Self {
        Self { fields, text: String::new(), note: note.into(), exit_status: 0 }
    }

    /// With another exit status.
    pub fn with_status(self, exit_status: u8) -> Self {
        Self { exit_status, ..self }
    }
}

/// The object of a command that did what it was asked.
pub fn object(command: &str, fields: &Value) -> Value {
    let mut object = Map::new();
    object.insert("version".to_owned(), json!(VERSION));
    object.insert("command".to_owned(), json!(command));
    if let Value::Object(fields) = fields {
        object.extend(fields.clone());
    }
    Value::Object(object)
}

/// The object of a command that did not.
pub fn error_object(command: &str, failure: &Failure) -> Value {
    object(
        command,
        &json!({
            "error": {
                "code": failure.code(),
                "exit_status": failure.exit_status(),
                "hint": failure.hint(),
                "message": failure.to_string(),
            },
        }),
    )
}
