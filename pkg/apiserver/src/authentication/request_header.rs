//! Identity asserted by a trusted proxy in headers: the aggregation layer's way. Upstream: apiserver/pkg/authentication/request/headerrequest.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use component_base::serving::peer::CaBundle;

use super::{Authenticated, Authenticator, Credentials};
use crate::request::User;

/// Believes the headers of a client whose certificate `authorities` signed and whose common name is in `allowed_names` (empty: any).
#[derive(Debug)]
pub struct RequestHeader {
    pub authorities: Arc<CaBundle>,
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

#[async_trait]
impl Authenticator for RequestHeader {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let Some(name) = first(credentials.headers, &self.username_headers) else { return Ok(None) };
        let Some(peer) = credentials.peer.filter(|peer| !peer.chain().is_empty()) else { return Ok(None) };
        // The certificate may be another authenticator's business.
        let Ok(verified) = peer.verify(&self.authorities, SystemTime::now()) else { return Ok(None) };
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&verified.cn) {
            return Err(format!("x509: subject with cn={} is not in the allowed list", verified.cn));
        }
        let groups = self.group_headers.iter().flat_map(|header| credentials.headers.get_all(header.as_str())).filter_map(text).collect();
        let uid = first(credentials.headers, &self.uid_headers).unwrap_or_default();
        let user = User { name, uid, groups, extra: self.extra(credentials.headers) };
        Ok(Some(Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}

impl RequestHeader {
    fn extra(&self, headers: &http::HeaderMap) -> Vec<(String, Vec<String>)> {
        let mut extra: std::collections::BTreeMap<String, Vec<String>> = Default::default();
        for (header, value) in headers {
            for prefix in &self.extra_prefixes {
                if let Some(key) = header.as_str().strip_prefix(&prefix.to_lowercase())
                    && let Some(value) = text(value)
                {
                    extra.entry(percent_decoded(key)).or_default().push(value);
                }
            }
        }
        extra.into_iter().collect()
    }
}

fn text(value: &http::HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

fn first(headers: &http::HeaderMap, names: &[String]) -> Option<String> {
    names.iter().filter_map(|name| headers.get(name.as_str()).and_then(text)).find(|value| !value.is_empty())
}

/// Extra keys travel percent-encoded; what does not decode stays as it is.
pub fn percent_decoded(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}
