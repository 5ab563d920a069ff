//! GET of a collection. Upstream: endpoints/handlers/get.go, apiserver/pkg/storage.

use std::sync::Arc;

use apimachinery::meta::v1::ListMeta;
use apimachinery::status::StatusError;
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use component_base::http::Response;
use http::StatusCode;
use storage::KeyRange;

use super::list_options::{ListOptions, Match};
use super::negotiate::{Offer, Output, Shape};
use super::query::parse_revision;
use super::selection::Selection;
use super::{Call, output, present, respond};
use crate::cache::Entry;
use crate::store::store_error;

/// Objects read from the store at a time while selectors leave some out.
const PAGE: usize = 500;

/// What a list found.
pub(super) struct Found {
    pub entries: Vec<Arc<Entry>>,
    pub meta: ListMeta,
}

pub(super) async fn list(call: &Call) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: true })?;
    let options = ListOptions::read(&call.query, false)?;
    let selection = Selection::of(call)?;
    let found = find(call, &options, &selection).await?;
    answer(call, output, found)
}

/// Answers with a list of cached objects.
pub(super) fn answer(call: &Call, output: Output, found: Found) -> Result<Response, StatusError> {
    if output.shape != Shape::Object {
        let objects = found.entries.iter().map(|entry| entry.object()).collect::<Result<Vec<_>, _>>()?;
        return present::list(call, output, &found.meta, &objects);
    }
    let view = call.view(output::media(output.format));
    let bodies = found.entries.iter().map(|entry| entry.body(view)).collect::<Result<Vec<Bytes>, _>>()?;
    let version = &call.kind.versions[call.version];
    let document = respond::list_document(output.format, &format!("{}List", version.info.kind), &version.api_version, &found.meta, &bodies);
    Ok(respond::bytes(StatusCode::OK, output.format, document))
}

/// Reads the objects that are asked for, from the cache where it may answer.
pub(super) async fn find(call: &Call, options: &ListOptions, selection: &Selection) -> Result<Found, StatusError> {
    let objects = call.server.objects();
    // Whoever takes any version gets all of it, and needs no next page.
    if !options.continue_token.is_empty() && options.resource_version != "0" {
        let token = Token::parse(&options.continue_token)?;
        if !options.resource_version.is_empty() {
            return Err(StatusError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return read_store(call, options, selection, Some(token), None).await;
    }
    let revision =
        parse_revision(&options.resource_version).map_err(|why| StatusError::bad_request(format!("invalid resource version: {why}")))?;
    let exact = options.version_match == Match::Exact || (options.version_match == Match::Unset && options.limit > 0 && revision > 0);
    if exact {
        return read_store(call, options, selection, None, Some(revision)).await;
    }
    let caches = objects.caches();
    let wanted = match options.resource_version.as_str() {
        "" if caches.proves_freshness() => objects.current_revision().await?,
        "" => return read_store(call, options, selection, None, None).await,
        _ => revision,
    };
    caches.filled().await;
    caches.wait_for(wanted).await?;
    // Read in this order: the snapshot holds at least everything up to the watermark.
    let watermark = caches.watermark();
    let cache = objects.cache(&call.kind);
    let snapshot = cache.snapshot();
    let revision = watermark.max(snapshot.revision);
    // "Any version" lists are answered whole, as upstream does.
    let limit = if options.resource_version == "0" { 0 } else { options.limit };

    let matching: Box<dyn Iterator<Item = &Arc<Entry>> + Send> = match selection.route(cache.index_field) {
        route if route.name.is_some() && (!call.facts.namespaced || route.namespace.is_some()) => {
            let key = call.kind.key_of(route.namespace.as_deref().unwrap_or_default(), route.name.as_deref().unwrap_or_default());
            Box::new(snapshot.entries.get(key.as_bytes()).into_iter())
        }
        route if route.index.is_some() => {
            let value = route.index.unwrap_or_default();
            let namespace = selection.namespace.clone();
            Box::new(
                snapshot
                    .indexed(&value)
                    .filter(move |entry| namespace.is_empty() || entry.namespace() == namespace)
                    .collect::<Vec<_>>()
                    .into_iter(),
            )
        }
        _ => snapshot.in_namespace(&selection.namespace),
    };
    let mut matching = matching.filter(|entry| selection.matches(entry));
    let mut meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
    let entries: Vec<Arc<Entry>> =
        if limit == 0 { matching.by_ref().cloned().collect() } else { matching.by_ref().take(limit).cloned().collect() };
    if limit > 0
        && let Some(last) = entries.last()
        && matching.next().is_some()
    {
        meta.continue_ = Token::after(revision, &relative(&last.key, &selection.namespace)).text();
        if selection.is_everything() {
            // One was taken to see whether there are more.
            meta.remaining_item_count = Some(i64::try_from(matching.count() + 1).unwrap_or(i64::MAX));
        }
    }
    Ok(Found { entries, meta })
}

/// A key without the namespace that the whole list is about.
fn relative(key: &[u8], namespace: &str) -> String {
    let key = String::from_utf8_lossy(key);
    match namespace {
        "" => key.into_owned(),
        namespace => key.strip_prefix(&format!("{namespace}/")).unwrap_or(&key).to_owned(),
    }
}

/// Reads from the store: an old revision, the rest of a list, or where the cache cannot prove that it is fresh.
async fn read_store(
    call: &Call,
    options: &ListOptions,
    selection: &Selection,
    token: Option<Token>,
    at: Option<u64>,
) -> Result<Found, StatusError> {
    let objects = call.server.objects();
    let prefix = match selection.namespace.as_str() {
        "" => call.kind.prefix.clone(),
        namespace => format!("{}{namespace}/", call.kind.prefix),
    };
    let mut range = KeyRange::prefix(prefix.clone());
    let mut at = at;
    if let Some(token) = &token {
        range.start = Bytes::from(format!("{prefix}{}", token.start));
        at = u64::try_from(token.revision).ok();
    }
    let limit = options.limit;
    let mut entries = Vec::new();
    let mut meta = ListMeta::default();
    loop {
        let page = if limit == 0 {
            0
        } else if selection.is_everything() {
            limit
        } else {
            limit.max(PAGE)
        };
        let answer = match objects.range(range.clone(), page, at).await {
            Ok(answer) => answer,
            Err(storage::Error::Compacted { .. }) => return Err(expired(token.as_ref())),
            Err(storage::Error::FutureRevision { requested, current }) => {
                return Err(StatusError::too_large_resource_version(requested.get(), current.get()));
            }
            Err(error) => return Err(store_error(&error)),
        };
        let revision = *at.get_or_insert(answer.revision.get());
        meta.resource_version = revision.to_string();
        let count = answer.items.len();
        let mut full = None;
        let mut last = None;
        for (index, item) in answer.items.into_iter().enumerate() {
            last = Some(item.key.clone());
            let key = item.key.slice(call.kind.prefix.len()..);
            let (entry, _) = Entry::decode(&call.kind, key, item.value, item.mod_revision.get())?;
            if selection.matches(&entry) {
                entries.push(Arc::new(entry));
            }
            if limit > 0 && entries.len() == limit {
                full = Some(index + 1);
                break;
            }
        }
        let Some(last) = last else { break };
        let left_out = full.is_some_and(|taken| taken < count) || answer.more;
        if full.is_some() && left_out {
            let start = String::from_utf8_lossy(&last[prefix.len()..]).into_owned();
            meta.continue_ = Token::after(revision, &start).text();
            if selection.is_everything() {
                let taken = full.unwrap_or(count) as u64;
                meta.remaining_item_count = i64::try_from(answer.count.saturating_sub(taken)).ok();
            }
            break;
        }
        if !answer.more {
            break;
        }
        range = range.after(&last);
    }
    Ok(Found { entries, meta })
}

fn expired(token: Option<&Token>) -> StatusError {
    match token {
        None => StatusError::resource_expired("The resourceVersion for the provided list is too old."),
        Some(_) => StatusError::resource_expired(
            "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
        ),
    }
}

/// Where a list goes on. The form is upstream's, so that a token of one server is good for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    /// Below zero: from whatever is there now.
    revision: i64,
    /// Relative to the prefix of the list.
    start: String,
}

impl Token {
    /// Behind a key.
    fn after(revision: u64, key: &str) -> Token {
        Token { revision: i64::try_from(revision).unwrap_or(i64::MAX), start: format!("{key}\0") }
    }

    fn text(&self) -> String {
        let mut json = apimachinery::value::Object::new();
        json.insert("v", "meta.k8s.io/v1");
        json.insert("rv", self.revision);
        json.insert("start", self.start.as_str());
        URL_SAFE_NO_PAD.encode(apimachinery::Value::from(json).to_vec())
    }

    fn parse(text: &str) -> Result<Token, StatusError> {
        let invalid = |why: String| StatusError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|error| match error {
            base64::DecodeError::InvalidByte(at, _) => invalid(format!("illegal base64 data at input byte {at}")),
            _ => invalid(format!("illegal base64 data at input byte {}", text.len())),
        })?;
        let value = apimachinery::Value::parse(&bytes).map_err(|error| invalid(error.to_string()))?;
        let version = value.str_at(&["v"]).unwrap_or_default();
        if version != "meta.k8s.io/v1" {
            return Err(invalid(format!("server does not recognize this encoded version {version}")));
        }
        let revision = value.get("rv").and_then(apimachinery::Value::as_i64).unwrap_or_default();
        if revision == 0 {
            return Err(invalid(format!("incorrect encoded start resourceVersion (version {version})")));
        }
        let start = value.str_at(&["start"]).unwrap_or_default();
        if start.is_empty() {
            return Err(invalid(format!("encoded start key empty (version {version})")));
        }
        if start.split('/').any(|part| part == "..") || start.starts_with('/') {
            return Err(invalid(start.to_owned()));
        }
        Ok(Token { revision, start: start.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams() {
        let token = Token::after(7, "ns/a");
        assert_eq!(Token::parse(&token.text()).unwrap(), token);
        for (text, why) in [
            ("abc", "invalid character 'i' looking for beginning of value"),
            ("!!", "illegal base64 data at input byte 0"),
            ("e30", "server does not recognize this encoded version "),
            ("eyJ2IjogIm1ldGEuazhzLmlvL3YxIiwgInJ2IjogMSwgInN0YXJ0IjogIi4uL3gifQ", "../x"),
            ("eyJ2IjogIm1ldGEuazhzLmlvL3YxIiwgInJ2IjogMSwgInN0YXJ0IjogIiJ9", "encoded start key empty (version meta.k8s.io/v1)"),
        ] {
            let message = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!(Token::parse(text).unwrap_err().message, message, "{text}");
        }
    }
}
