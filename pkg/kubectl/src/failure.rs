//! What a command may end with, and how kubectl words it. Upstream: `kubectl/pkg/cmd/util/helpers.go`.

use apimachinery::StatusError;
use client::{KubeconfigError, MapError};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Printed behind `error: `.
    Text(String),
    /// A mistake on the command line: as text, and a pointer to the help.
    Usage(String),
    /// The server's refusal, perhaps with what was being done.
    Server {
        doing: String,
        error: Box<client::Error>,
    },
    /// Everything is said; only the exit code is left.
    Exit(u8),
    /// As it stands, with nothing in front, and the exit code.
    Plain(String, u8),
    Many(Vec<Failure>),
}

impl Failure {
    pub fn text(text: impl Into<String>) -> Failure {
        Failure::Text(text.into())
    }

    pub fn usage(text: impl Into<String>) -> Failure {
        Failure::Usage(text.into())
    }

    /// Says what was being done: `error when creating "web.yaml"`.
    pub fn during(self, doing: impl Into<String>) -> Failure {
        match self {
            Failure::Server { doing: old, error } if old.is_empty() => Failure::Server { doing: doing.into(), error },
            Failure::Text(text) => Failure::Text(format!("{}: {text}", doing.into())),
            other => other,
        }
    }

    /// No failure, one, or all of them.
    pub fn all(mut failures: Vec<Failure>) -> Result<(), Failure> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Failure::Many(failures)),
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Server { error, .. } if error.is_not_found())
    }

    /// The text for standard error, and the exit code.
    pub fn report(&self, command: &str) -> (String, u8) {
        match self {
            Failure::Exit(code) => (String::new(), *code),
            Failure::Plain(text, code) => (format!("{text}\n"), *code),
            Failure::Text(text) => (format!("{}\n", with_prefix(text)), 1),
            Failure::Usage(text) => (format!("{}\nSee '{} -h' for help and examples\n", with_prefix(text), full_name(command)), 1),
            Failure::Server { doing, error } => (format!("{}\n", server_words(doing, error)), 1),
            Failure::Many(failures) => {
                let mut texts: Vec<String> = Vec::new();
                for failure in failures {
                    let text = failure.report(command).0;
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                }
                (texts.concat(), 1)
            }
        }
    }
}

fn full_name(command: &str) -> String {
    format!("kubectl {command}").trim_end().to_string()
}

fn with_prefix(text: &str) -> String {
    if text.starts_with("error: ") { text.to_string() } else { format!("error: {text}") }
}

/// How kubectl tells of a request that failed.
pub fn server_words(doing: &str, error: &client::Error) -> String {
    let doing = if doing.is_empty() { String::new() } else { format!("{doing}: ") };
    match error {
        client::Error::Api(status) if status.is_unauthorized() && doing.is_empty() => {
            format!("error: You must be logged in to the server ({})", status.message)
        }
        client::Error::Api(status) if status.is_invalid() && doing.is_empty() => invalid_words(status),
        client::Error::Api(status) if status.reason.is_empty() => format!("Error from server: {doing}{}", status.message),
        client::Error::Api(status) => format!("Error from server ({}): {doing}{}", status.reason, status.message),
        client::Error::Connect { address, .. } if error.is_connection_refused() => {
            format!("The connection to the server {address} was refused - did you specify the right host or port?")
        }
        client::Error::Connect { address, source } => format!("Unable to connect to the server: dial tcp {address}: {source}"),
        client::Error::Tls { source, .. } => format!("Unable to connect to the server: tls: {source}"),
        client::Error::Timeout(_) => {
            "Unable to connect to the server: net/http: request canceled (Client.Timeout exceeded while awaiting headers)".into()
        }
        other => format!("error: {doing}{}", chain(other)),
    }
}

fn invalid_words(status: &StatusError) -> String {
    let Some(details) = status.details.as_ref() else { return format!("The request is invalid: {}", status.message) };
    if details.kind.is_empty() && details.causes.is_empty() {
        return format!("The request is invalid: {}", status.message);
    }
    let causes: Vec<String> = details
        .causes
        .iter()
        .map(|cause| if cause.field.is_empty() { cause.message.clone() } else { format!("{}: {}", cause.field, cause.message) })
        .collect();
    let what = format!("The {} {:?} is invalid", details.kind, details.name);
    match causes.as_slice() {
        [] => what,
        [one] => format!("{what}: {one}"),
        many => format!("{what}: \n{}", many.iter().map(|cause| format!("* {cause}")).collect::<Vec<_>>().join("\n")),
    }
}

/// An error with everything that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::Server { doing: String::new(), error: Box::new(error) }
    }
}

impl From<KubeconfigError> for Failure {
    fn from(error: KubeconfigError) -> Failure {
        Failure::Text(chain(&error))
    }
}

impl From<MapError> for Failure {
    fn from(error: MapError) -> Failure {
        Failure::Text(error.to_string())
    }
}

impl From<streaming::Error> for Failure {
    fn from(error: streaming::Error) -> Failure {
        Failure::Text(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_worded_as_kubectl_does() {
        let error = StatusError::new(404, "NotFound", "pods \"a\" not found");
        let failure = Failure::from(client::Error::from(error));
        assert_eq!(failure.report("get").0, "Error from server (NotFound): pods \"a\" not found\n");
        let failure = failure.during("error when creating \"x.yaml\"");
        assert_eq!(failure.report("create").0, "Error from server (NotFound): error when creating \"x.yaml\": pods \"a\" not found\n");
        assert_eq!(Failure::usage("bad").report("rollout undo").0, "error: bad\nSee 'kubectl rollout undo -h' for help and examples\n");
    }
}
