//! The formats of names, labels and ports. Each check returns what is wrong, nothing if all is well.
//! Upstream: apimachinery `pkg/util/validation`, `pkg/api/validation`.

pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;
pub const LABEL_VALUE_MAX_LENGTH: usize = 63;
pub const QUALIFIED_NAME_MAX_LENGTH: usize = 63;

/// What is wrong with a value.
pub type Messages = Vec<String>;

/// Rounds off a description with examples and the pattern.
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

pub fn max_length_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

fn max_bytes_error(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

pub const EMPTY_ERROR: &str = "must be non-empty";

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Letters, digits and what `inner` allows, with a letter or digit at both ends.
fn framed(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if edge(*first) && edge(*last))
        && bytes.iter().all(|byte| edge(*byte) || inner(*byte))
}

fn matches_dns_label(text: &str) -> bool {
    framed(text, is_lower, |byte| byte == b'-')
}

fn matches_dns_subdomain(text: &str) -> bool {
    text.split('.').all(matches_dns_label)
}

fn matches_qualified(text: &str) -> bool {
    framed(text, |byte| byte.is_ascii_alphanumeric(), |byte| matches!(byte, b'-' | b'_' | b'.'))
}

fn check(matches: bool, length: usize, max: usize, error: impl FnOnce() -> String) -> Messages {
    let mut messages = Vec::new();
    if length > max {
        messages.push(max_length_error(max));
    }
    if !matches {
        messages.push(error());
    }
    messages
}

fn dns1123_label_error() -> String {
    regex_error(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        &["my-name", "123-abc"],
    )
}

/// Host name part: `my-name`.
pub fn is_dns1123_label(value: &str) -> Messages {
    check(matches_dns_label(value), value.len(), DNS1123_LABEL_MAX_LENGTH, || match matches_dns_subdomain(value) {
        // All that keeps a subdomain from being a label is its dots.
        true => "must not contain dots".into(),
        false => dns1123_label_error(),
    })
}

/// The name of most objects: `example.com`.
pub fn is_dns1123_subdomain(value: &str) -> Messages {
    check(matches_dns_subdomain(value), value.len(), DNS1123_SUBDOMAIN_MAX_LENGTH, || {
        regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        )
    })
}

/// A DNS search domain: underscores are in use there.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Messages {
    let inner = |byte: u8| matches!(byte, b'-' | b'_');
    let matches = value.split('.').all(|part| framed(part.strip_prefix('_').unwrap_or(part), is_lower, inner));
    check(matches, value.len(), DNS1123_SUBDOMAIN_MAX_LENGTH, || {
        regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        )
    })
}

/// The name of a Service before relaxed names: `my-name`, starting with a letter.
pub fn is_dns1035_label(value: &str) -> Messages {
    let matches = matches_dns_label(value) && value.starts_with(|first: char| first.is_ascii_lowercase());
    check(matches, value.len(), DNS1123_LABEL_MAX_LENGTH, || {
        regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        )
    })
}

/// `*.example.com`
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Messages {
    let matches = value.strip_prefix("*.").is_some_and(matches_dns_subdomain);
    check(matches, value.len(), DNS1123_SUBDOMAIN_MAX_LENGTH, || {
        regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        )
    })
}

fn prefixed(prefix: &str, messages: Messages) -> Messages {
    messages.into_iter().map(|message| format!("{prefix}{message}")).collect()
}

const QUALIFIED_PATTERN: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A label key, a resource name and the like: `MyName`, `example.com/MyName`.
pub fn is_qualified_name(value: &str) -> Messages {
    let qualified_error =
        |subject: &str| regex_error(&format!("{subject} {QUALIFIED_TEXT}"), QUALIFIED_PATTERN, &["MyName", "my.name", "123-abc"]);
    let mut messages = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                messages.push(format!("prefix part {EMPTY_ERROR}"));
            } else {
                messages.extend(prefixed("prefix part ", is_dns1123_subdomain(prefix)));
            }
            name
        }
        _ => {
            let error = qualified_error("a valid label key");
            return vec![format!("{error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
    };
    if name.is_empty() {
        messages.push(format!("name part {EMPTY_ERROR}"));
    } else if name.len() > QUALIFIED_NAME_MAX_LENGTH {
        messages.push(format!("name part {}", max_bytes_error(QUALIFIED_NAME_MAX_LENGTH)));
    }
    if !matches_qualified(name) {
        messages.push(qualified_error("name part"));
    }
    messages
}

pub fn is_label_value(value: &str) -> Messages {
    let mut messages = Vec::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        messages.push(max_bytes_error(LABEL_VALUE_MAX_LENGTH));
    }
    if !value.is_empty() && !matches_qualified(value) {
        messages.push(regex_error(
            &format!("a valid label must be an empty string or {}", &QUALIFIED_TEXT["must ".len()..]),
            &format!("({QUALIFIED_PATTERN})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    messages
}

/// At least two parts with dots between: `example.com`.
pub fn is_fully_qualified_name(value: &str) -> Messages {
    if value.is_empty() {
        return vec![EMPTY_ERROR.into()];
    }
    let messages = is_dns1123_subdomain(value);
    if messages.is_empty() && !value.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".into()];
    }
    messages
}

/// A finalizer, a signer and the like: `acme.io/foo`.
pub fn is_domain_prefixed_path(value: &str) -> Messages {
    let Some((domain, path)) = value.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty()) else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()];
    };
    let mut messages = is_dns1123_subdomain(domain);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    if !path.bytes().all(allowed) {
        messages.push(regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]));
    }
    messages
}

pub fn is_c_identifier(value: &str) -> Messages {
    let start = value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if start && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

pub fn is_port_number(port: i64) -> Messages {
    is_in_range(port, 1, 65535)
}

pub fn is_in_range(value: i64, low: i64, high: i64) -> Messages {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range_error(low, high)] }
}

pub fn is_user_id(id: i64) -> Messages {
    is_in_range(id, 0, i64::from(i32::MAX))
}

pub fn is_group_id(id: i64) -> Messages {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// An IANA service name: `http`, at most 15 characters with a letter among them.
pub fn is_port_name(name: &str) -> Messages {
    let mut messages = Vec::new();
    if name.len() > 15 {
        messages.push(max_length_error(15));
    }
    if name.is_empty() || !name.bytes().all(|byte| is_lower(byte) || byte == b'-') {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".into());
    }
    if name.contains("--") {
        messages.push("must not contain consecutive hyphens".into());
    }
    if name.starts_with('-') || name.ends_with('-') {
        messages.push("must not begin or end with a hyphen".into());
    }
    messages
}

/// `50%`
pub fn is_percent(value: &str) -> Messages {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", &["1%", "93%"])]
}

pub fn is_http_header_name(value: &str) -> Messages {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![regex_error("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The name of an environment variable that a shell can use, and a little more.
pub fn is_env_var_name(value: &str) -> Messages {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let mut messages = Vec::new();
    if value.is_empty() || !value.bytes().all(allowed) || value.starts_with(|first: char| first.is_ascii_digit()) {
        messages.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    messages.extend(dots_errors(value));
    messages
}

/// Any name of an environment variable that the system can hold.
pub fn is_relaxed_env_var_name(value: &str) -> Messages {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if value.bytes().all(|byte| matches!(byte, b' '..=b'<' | b'>'..=b'~')) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
        "^[ -<>-~]+$",
        &[],
    )]
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub fn is_config_map_key(value: &str) -> Messages {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let matches = !value.is_empty() && value.bytes().all(allowed);
    let mut messages = check(matches, value.len(), DNS1123_SUBDOMAIN_MAX_LENGTH, || {
        regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        )
    });
    messages.extend(dots_errors(value));
    messages
}

fn dots_errors(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ if value.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// The name of an object that only has to fit into a URL path: roles, bindings and the like.
pub fn is_path_segment_name(name: &str) -> Messages {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].into_iter().filter(|part| name.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// As [`is_path_segment_name`], for a name still to be completed.
pub fn is_path_segment_prefix(name: &str) -> Messages {
    ["/", "%"].into_iter().filter(|part| name.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// How the name of an object is checked. With `prefix`, the name is a `generateName` whose end is still to come.
pub type NameCheck = fn(name: &str, prefix: bool) -> Messages;

/// A trailing dash is right in a prefix: what is generated follows it.
fn without_dash(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => format!("{rest}a"),
        _ => name.into(),
    }
}

pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Messages {
    is_dns1123_subdomain(&without_dash(name, prefix))
}

pub fn name_is_dns_label(name: &str, prefix: bool) -> Messages {
    is_dns1123_label(&without_dash(name, prefix))
}

pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Messages {
    is_dns1035_label(&without_dash(name, prefix))
}

pub fn name_is_path_segment(name: &str, prefix: bool) -> Messages {
    if prefix { is_path_segment_prefix(name) } else { is_path_segment_name(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line: check, value, how many complaints.
    #[test]
    fn judges_names() {
        let long = "a".repeat(64);
        let table: &[(fn(&str) -> Messages, &str, usize)] = &[
            (is_dns1123_label, "my-name", 0),
            (is_dns1123_label, "1", 0),
            (is_dns1123_label, "", 1),
            (is_dns1123_label, "a-", 1),
            (is_dns1123_label, "a.b", 1),
            (is_dns1123_label, &long, 1),
            (is_dns1123_subdomain, "a.b-c.d", 0),
            (is_dns1123_subdomain, "a..b", 1),
            (is_dns1123_subdomain, "A", 1),
            (is_dns1123_subdomain, &long, 0),
            (is_dns1123_subdomain_with_underscore, "_a.b_c", 0),
            (is_dns1035_label, "a1", 0),
            (is_dns1035_label, "1a", 1),
            (is_wildcard_dns1123_subdomain, "*.a.b", 0),
            (is_wildcard_dns1123_subdomain, "a.b", 1),
            (is_qualified_name, "a.b/C_d", 0),
            (is_qualified_name, "", 2),
            (is_qualified_name, "/a", 1),
            (is_qualified_name, "A/b", 1),
            (is_qualified_name, "a/b/c", 1),
            (is_qualified_name, "a b", 1),
            (is_qualified_name, &long, 1),
            (is_label_value, "", 0),
            (is_label_value, "a-b", 0),
            (is_label_value, "-1", 1),
            (is_label_value, &long, 1),
            (is_port_name, "http", 0),
            (is_port_name, "80", 1),
            (is_port_name, "a--b", 1),
            (is_port_name, "-", 2),
            (is_percent, "50%", 0),
            (is_percent, "%", 1),
            (is_config_map_key, "a.b", 0),
            (is_config_map_key, "..", 1),
            (is_config_map_key, "a/b", 1),
            (is_env_var_name, "A_1", 0),
            (is_env_var_name, "1A", 1),
            (is_relaxed_env_var_name, "1 A", 0),
            (is_relaxed_env_var_name, "a=b", 1),
            (is_path_segment_name, "system:x", 0),
            (is_path_segment_name, "a/b%", 2),
            (is_path_segment_name, "..", 1),
            (is_fully_qualified_name, "a", 1),
            (is_fully_qualified_name, "a.b", 0),
            (is_domain_prefixed_path, "a.b/c", 0),
            (is_domain_prefixed_path, "a.b", 1),
            (is_c_identifier, "_a1", 0),
            (is_c_identifier, "1a", 1),
        ];
        for (check, value, complaints) in table {
            let messages = check(value);
            assert_eq!(messages.len(), *complaints, "{value}: {messages:?}");
        }
        assert_eq!(name_is_dns_label("abc-", true), Messages::new());
        assert_eq!(name_is_dns_label("abc-", false).len(), 1);
    }

    #[test]
    fn reads_like_upstream() {
        assert_eq!(
            is_label_value("-1"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
              alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
              '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(
            is_qualified_name("a/b/c"),
            ["a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
              character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
              '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
        );
        assert_eq!(is_port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(regex_error("m", "p", &[]), "m (regex used for validation is 'p')");
    }
}
