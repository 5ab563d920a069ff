//! `Warning` headers. Upstream: apiserver/pkg/endpoints/filters/warning.go.

use component_base::http::Response;
use http::header::{HeaderValue, WARNING};

/// Bytes of warnings a response carries at most. Upstream's number.
const LIMIT: usize = 4 * 1024;

/// Adds `299 - "text"` for each warning, as many as fit.
pub(super) fn add(response: &mut Response, warnings: Vec<String>) {
    let mut total = 0;
    for text in warnings {
        let mut quoted = String::with_capacity(text.len() + 8);
        quoted.push_str("299 - \"");
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    quoted.push('\\');
                    quoted.push(character);
                }
                // Headers are one line of visible text.
                character if character.is_control() => quoted.push(' '),
                character => quoted.push(character),
            }
        }
        quoted.push('"');
        total += quoted.len();
        if total > LIMIT {
            return;
        }
        if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
