//! How a command ended, as the error stream tells it: a `Status` object since v4, plain text before.

use serde_json::{Map, Value, json};

const NON_ZERO_EXIT_CODE: &str = "NonZeroExitCode";
const EXIT_CODE_CAUSE: &str = "ExitCode";

/// The part of `metav1.Status` that the error stream uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the command ran and returned zero.
    pub success: bool,
    /// For people.
    pub message: String,
    /// For programs: `NonZeroExitCode`, `InternalError`, ...
    pub reason: String,
    /// The HTTP status code that fits, or zero.
    pub code: i32,
    /// Details; the exit code is one.
    pub causes: Vec<Cause>,
}

/// One of a status' details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The kind of cause, `reason` in JSON.
    pub kind: String,
    /// What it is about.
    pub message: String,
}

/// How a remote command ended, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned zero, or the session ended as it should.
    Success,
    /// It returned this code.
    ExitCode(u8),
    /// It did not run, or broke off: the server's message.
    Failed(String),
}

impl Status {
    /// The command returned zero.
    pub fn success() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// The command returned `code`.
    pub fn exit_code(code: i32) -> Self {
        if code == 0 {
            return Self::success();
        }
        Self {
            message: format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            reason: NON_ZERO_EXIT_CODE.to_owned(),
            causes: vec![Cause { kind: EXIT_CODE_CAUSE.to_owned(), message: code.to_string() }],
            ..Self::default()
        }
    }

    /// The command did not run, or its session broke.
    pub fn internal_error(what: impl std::fmt::Display) -> Self {
        let what = what.to_string();
        Self {
            message: format!("Internal error occurred: {what}"),
            reason: "InternalError".to_owned(),
            code: 500,
            causes: vec![Cause { kind: String::new(), message: what }],
            success: false,
        }
    }

    /// The status that tells another client the same outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::success(),
            Outcome::ExitCode(code) => Self::exit_code(i32::from(*code)),
            Outcome::Failed(message) => Self::internal_error(message),
        }
    }

    /// As upstream marshals it, without kind and apiVersion.
    pub fn to_json(&self) -> Vec<u8> {
        // By hand for the order of the keys, which is upstream's.
        let text = |value: &str| Value::from(value).to_string();
        let mut out = String::from(r#"{"metadata":{},"status":"#);
        out += if self.success { r#""Success""# } else { r#""Failure""# };
        for (key, value) in [("message", &self.message), ("reason", &self.reason)] {
            if !value.is_empty() {
                out += &format!(",\"{key}\":{}", text(value));
            }
        }
        if !self.causes.is_empty() {
            let cause = |cause: &Cause| {
                let mut fields = Map::new();
                for (key, value) in [("reason", &cause.kind), ("message", &cause.message)] {
                    if !value.is_empty() {
                        fields.insert(key.to_owned(), json!(value));
                    }
                }
                Value::Object(fields)
            };
            out += &format!(",\"details\":{{\"causes\":{}}}", Value::Array(self.causes.iter().map(cause).collect()));
        }
        if self.code != 0 {
            out += &format!(",\"code\":{}", self.code);
        }
        out.push('}');
        out.into_bytes()
    }

    /// What versions before v4 send: nothing on success.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        if self.success { Vec::new() } else { self.message.clone().into_bytes() }
    }
}

impl Outcome {
    /// Reads what the error stream carried to its end. `json` tells the versions since v4.
    pub fn parse(bytes: &[u8], json: bool) -> Self {
        if bytes.is_empty() {
            return Self::Success; // Attach says nothing when all went well.
        }
        let text = String::from_utf8_lossy(bytes);
        if !json {
            return Self::Failed(format!("error executing remote command: {text}"));
        }
        let status: Value = match serde_json::from_slice(bytes) {
            Ok(status) => status,
            Err(err) => return Self::Failed(format!("error stream protocol error: {err} in {text:?}")),
        };
        match status["status"].as_str() {
            Some("Success") => Self::Success,
            Some("Failure") if status["reason"] == NON_ZERO_EXIT_CODE => exit_code(&status["details"]),
            Some("Failure") => Self::Failed(status["message"].as_str().unwrap_or_default().to_owned()),
            _ => Self::Failed("error stream protocol error: unknown error".to_owned()),
        }
    }
}

fn exit_code(details: &Value) -> Outcome {
    if !details.is_object() {
        return Outcome::Failed("error stream protocol error: details must be set".to_owned());
    }
    let causes = details["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(cause) = causes.iter().find(|cause| cause["reason"] == EXIT_CODE_CAUSE) else {
        return Outcome::Failed(format!("error stream protocol error: no {EXIT_CODE_CAUSE} cause given"));
    };
    let message = cause["message"].as_str().unwrap_or_default();
    match message.parse() {
        Ok(code) => Outcome::ExitCode(code),
        Err(_) => Outcome::Failed(format!("error stream protocol error: invalid exit code value {message:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_as_upstream_writes_them() {
        assert_eq!(Status::success().to_json(), br#"{"metadata":{},"status":"Success"}"#);
        let json = String::from_utf8(Status::exit_code(3).to_json()).unwrap();
        assert!(json.ends_with(r#""reason":"NonZeroExitCode","details":{"causes":[{"message":"3","reason":"ExitCode"}]}}"#), "{json}");
    }

    #[test]
    fn outcomes_survive_the_wire() {
        for outcome in [Outcome::Success, Outcome::ExitCode(1), Outcome::ExitCode(255)] {
            assert_eq!(Outcome::parse(&Status::of(&outcome).to_json(), true), outcome);
        }
        let failed = Status::internal_error("no such container \"x\"");
        assert_eq!(Outcome::parse(&failed.to_json(), true), Outcome::Failed(failed.message.clone()));
        assert_eq!(
            Outcome::parse(&failed.to_text(), false),
            Outcome::Failed(format!("error executing remote command: {}", failed.message))
        );
    }

    #[test]
    fn nonsense_is_an_error_in_upstreams_words() {
        for (json, expected) in [
            ("{", "error stream protocol error: EOF"),
            ("{}", "unknown error"),
            (r#"{"status":"Failure","reason":"NonZeroExitCode"}"#, "details must be set"),
            (r#"{"status":"Failure","reason":"NonZeroExitCode","details":{}}"#, "no ExitCode cause given"),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"256"}]}}"#,
                "invalid exit code",
            ),
        ] {
            let Outcome::Failed(message) = Outcome::parse(json.as_bytes(), true) else { panic!("{json} passed") };
            assert!(message.contains(expected), "{message}");
        }
    }
}
