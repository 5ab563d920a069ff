//! Registry credentials out of image pull secrets.

use api::core::v1::Secret;
use apimachinery::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cri_api::v1::AuthConfig;

/// The registry of an image: its first path element if that looks like a host, else Docker's.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "index.docker.io",
    }
}

/// Host and path prefix of an entry's key: `https://index.docker.io/v1/` is `index.docker.io`.
fn host_and_path(key: &str) -> (&str, &str) {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_end_matches('/');
    (host, if matches!(path, "v1" | "v2") { "" } else { path })
}

/// `*.example.org` stands for one label in the star's place.
fn host_matches(pattern: &str, host: &str) -> bool {
    if pattern == host || (pattern == "docker.io" && host == "index.docker.io") {
        return true;
    }
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len() && pattern.contains(&"*") && pattern.iter().zip(&host).all(|(p, h)| *p == "*" || p == h)
}

/// What of the secret fits the image, the most specific entry first.
pub fn from_secret(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let (bytes, nested) = match secret.type_.as_str() {
        "kubernetes.io/dockerconfigjson" => (secret.data.get(".dockerconfigjson"), true),
        "kubernetes.io/dockercfg" => (secret.data.get(".dockercfg"), false),
        _ => return Vec::new(),
    };
    let Some(value) = bytes.and_then(|bytes| Value::parse(bytes).ok()) else { return Vec::new() };
    let entries = if nested { value.get("auths") } else { Some(&value) };
    let Some(Value::Object(entries)) = entries else { return Vec::new() };
    let host = registry(image);
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for (key, entry) in entries.iter() {
        let (pattern, path) = host_and_path(key);
        let fits_path = path.is_empty() || image.strip_prefix(host).is_some_and(|rest| rest.trim_start_matches('/').starts_with(path));
        if host_matches(pattern, host) && fits_path {
            found.extend(auth(entry).map(|auth| (key.len(), auth)));
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn auth(entry: &Value) -> Option<AuthConfig> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut config = AuthConfig { username: text("username"), password: text("password"), ..Default::default() };
    let joined = text("auth");
    if !joined.is_empty() {
        let decoded = STANDARD.decode(joined).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        let (user, password) = decoded.split_once(':')?;
        (config.username, config.password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
    }
    (!config.username.is_empty()).then_some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_chosen_by_registry() {
        let json = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cHc="},"r.example.org/team":{"username":"t","password":"p"},"*.example.org":{"username":"w","password":"p"}}}"#;
        let secret = Secret {
            type_: "kubernetes.io/dockerconfigjson".into(),
            data: [(".dockerconfigjson", json.to_vec().into())].into(),
            ..Default::default()
        };
        let users = |image: &str| from_secret(&secret, image).into_iter().map(|auth| auth.username).collect::<Vec<_>>().join(",");
        for (image, expected) in [
            ("busybox", "me"),
            ("library/busybox", "me"),
            ("r.example.org/team/app:1", "t,w"),
            ("r.example.org/other", "w"),
            ("other.org/x", ""),
        ] {
            assert_eq!(users(image), expected, "{image}");
        }
    }
}
