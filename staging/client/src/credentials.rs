//! The `Authorization` header, kept fresh.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderMap};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::{Auth, ConfigError, Impersonation};
use crate::exec::{self, AuthError, ExecCredential, ExecSettings};
use crate::transport::ClientIdentity;

/// How often a token file is read again; kubelets rotate tokens well before they expire.
const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(60);

/// Hands out bearer tokens that the program itself sees to: a controller's, asked for under another identity.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token that is good now. Asked before each request: must be quick unless the token has to be renewed.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send + '_>>;
    /// The server did not accept the last token.
    fn refused(&self);
}

/// Why a [`TokenSource`] has no token.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

/// Who we say we are, request by request.
pub(crate) struct Credentials {
    kind: Kind,
    /// `Impersonate-*` headers, made once.
    impersonation: HeaderMap,
}

enum Kind {
    None,
    Fixed(HeaderValue),
    File {
        path: PathBuf,
        last: Mutex<Option<(HeaderValue, Option<Instant>)>>,
    },
    Source(Arc<dyn TokenSource>),
    /// The async lock makes one run serve all requests that wait for it.
    Exec {
        settings: Box<ExecSettings>,
        identity: ClientIdentity,
        last: tokio::sync::Mutex<Option<ExecCredential>>,
    },
}

impl Credentials {
    pub(crate) fn new(auth: &Auth, impersonate: &Impersonation, identity: &ClientIdentity) -> Result<Credentials, ConfigError> {
        let bad = |_| ConfigError::Header { what: "credentials" };
        let kind = match auth {
            Auth::None => Kind::None,
            Auth::Token(token) => Kind::Fixed(bearer(token).map_err(bad)?),
            Auth::Basic { username, password } => {
                Kind::Fixed(secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))).map_err(bad)?)
            }
            Auth::TokenFile { path, initial } => {
                let first = initial.as_deref().map(bearer).transpose().map_err(bad)?;
                Kind::File { path: path.clone(), last: Mutex::new(first.map(|value| (value, None))) }
            }
            Auth::Exec(settings) => {
                Kind::Exec { settings: settings.clone(), identity: identity.clone(), last: tokio::sync::Mutex::default() }
            }
        };
        Ok(Credentials { kind, impersonation: impersonation_headers(impersonate)? })
    }

    pub(crate) fn of_source(source: Arc<dyn TokenSource>) -> Credentials {
        Credentials { kind: Kind::Source(source), impersonation: HeaderMap::new() }
    }

    /// Puts the headers in that say who asks. Must run before a connection is chosen: a plugin may bring a certificate.
    pub(crate) async fn apply(&self, headers: &mut HeaderMap) -> Result<(), AuthError> {
        for (name, value) in &self.impersonation {
            headers.append(name, value.clone());
        }
        // A header the caller set wins, as upstream's round trippers have it.
        if headers.contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let value = match &self.kind {
            Kind::None => None,
            Kind::Fixed(value) => Some(value.clone()),
            Kind::File { path, last } => Some(token_from_file(path, last)?),
            Kind::Source(source) => {
                let token = source.token().await.map_err(AuthError::Source)?;
                Some(bearer(&token).map_err(|_| AuthError::Header)?)
            }
            Kind::Exec { settings, identity, last } => {
                let mut last = last.lock().await;
                if !last.as_ref().is_some_and(|credential| credential.is_valid(SystemTime::now())) {
                    let credential = exec::run(settings).await?;
                    if let Some((cert, key)) = &credential.certificate {
                        identity.set(cert.as_bytes(), key.as_bytes()).map_err(AuthError::Certificate)?;
                    }
                    *last = Some(credential);
                }
                let token = last.as_ref().and_then(|credential| credential.token.as_deref());
                token.map(bearer).transpose().map_err(|_| AuthError::Header)?
            }
        };
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    /// The server did not accept what we sent: do not use it again.
    pub(crate) async fn refused(&self) {
        match &self.kind {
            Kind::Exec { last, .. } => *last.lock().await = None,
            Kind::Source(source) => source.refused(),
            Kind::None | Kind::Fixed(_) | Kind::File { .. } => {}
        }
    }
}

fn secret(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn token_from_file(path: &PathBuf, last: &Mutex<Option<(HeaderValue, Option<Instant>)>>) -> Result<HeaderValue, AuthError> {
    let mut last = last.lock();
    if let Some((value, Some(read_at))) = &*last
        && read_at.elapsed() < TOKEN_FILE_PERIOD
    {
        return Ok(value.clone());
    }
    let read = std::fs::read_to_string(path).map_err(|source| AuthError::TokenFile { path: path.clone(), source }).and_then(|text| {
        match text.trim() {
            "" => Err(AuthError::EmptyTokenFile(path.clone())),
            token => bearer(token).map_err(|_| AuthError::Header),
        }
    });
    match (read, &*last) {
        (Ok(value), _) => {
            *last = Some((value.clone(), Some(Instant::now())));
            Ok(value)
        }
        // A token that may still be good beats none; the server has the last word.
        (Err(err), Some((old, _))) => {
            tracing::warn!(err = &err as &dyn std::error::Error, "unable to rotate token");
            Ok(old.clone())
        }
        (Err(err), None) => Err(err),
    }
}

fn impersonation_headers(who: &Impersonation) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    if who.user.is_empty() {
        let anything = !who.uid.is_empty() || !who.groups.is_empty() || !who.extra.is_empty();
        return if anything { Err(ConfigError::ImpersonationWithoutUser) } else { Ok(headers) };
    }
    let value = |what: &'static str, text: &str| HeaderValue::from_str(text).map_err(|_| ConfigError::Header { what });
    headers.insert("impersonate-user", value("impersonated user", &who.user)?);
    if !who.uid.is_empty() {
        headers.insert("impersonate-uid", value("impersonated uid", &who.uid)?);
    }
    for group in &who.groups {
        headers.append("impersonate-group", value("impersonated group", group)?);
    }
    for (key, values) in &who.extra {
        let name = format!("impersonate-extra-{}", header_key_escaped(&key.to_lowercase()));
        let name = http::HeaderName::try_from(name).map_err(|_| ConfigError::Header { what: "impersonated extra key" })?;
        for one in values {
            headers.append(&name, value("impersonated extra value", one)?);
        }
    }
    Ok(headers)
}

/// Percent-encodes what may not stand in a header's name, and `%` itself.
fn header_key_escaped(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'!'
            | b'#'
            | b'$'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impersonation_becomes_headers() {
        let who = Impersonation {
            user: "jane".into(),
            uid: "u1".into(),
            groups: vec!["dev".into(), "ops".into()],
            extra: vec![("Acme.com/Scope".into(), vec!["view".into()])],
        };
        let headers = impersonation_headers(&who).unwrap();
        let told: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        assert_eq!(
            told,
            [
                "impersonate-user=jane",
                "impersonate-uid=u1",
                "impersonate-group=dev",
                "impersonate-group=ops",
                "impersonate-extra-acme.com%2fscope=view"
            ]
        );
        let nobody = Impersonation { groups: vec!["dev".into()], ..Impersonation::default() };
        assert!(matches!(impersonation_headers(&nobody), Err(ConfigError::ImpersonationWithoutUser)));
    }
}
