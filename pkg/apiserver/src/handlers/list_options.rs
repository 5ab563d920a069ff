//! ListOptions: what a list or watch starts from, checked as upstream checks it. Upstream: apimachinery/pkg/apis/meta/internalversion/validation.

use apimachinery::gvk::GroupKind;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, Path};

use super::query::Query;

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Unset,
    Exact,
    NotOlderThan,
}

#[derive(Clone, Debug)]
pub(super) struct ListOptions {
    pub resource_version: String,
    pub version_match: Match,
    pub limit: usize,
    pub continue_token: String,
    pub timeout_seconds: Option<i64>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks the parameters; `watch` says for which verb.
    pub fn read(query: &Query, watch: bool) -> Result<ListOptions, StatusError> {
        // All numbers are read before anything is judged, as upstream's conversion does.
        let timeout_seconds = query.int("timeoutSeconds")?;
        let limit = query.int("limit")?.unwrap_or_default();
        let resource_version = query.get("resourceVersion");
        let version_match = query.get("resourceVersionMatch");
        let continue_token = query.get("continue");
        let send_initial_events = query.bool("sendInitialEvents");

        let mut errors = field::ErrorList::new();
        let path = Path::new("resourceVersionMatch");
        let forbid = |errors: &mut field::ErrorList, detail: &str| errors.push(field::Error::forbidden(&path, detail));
        if watch {
            if !version_match.is_empty() && send_initial_events.is_none() {
                forbid(&mut errors, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if send_initial_events.is_some() && version_match != "NotOlderThan" {
                forbid(&mut errors, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            if !matches!(version_match, "" | "NotOlderThan") {
                errors.push(field::Error::not_supported(&path, version_match, &["NotOlderThan"]));
            }
            // From nowhere in particular: such watches begin as if they had asked for the initial events.
            let from_anywhere = send_initial_events.is_none() && matches!(resource_version, "" | "0");
            if !continue_token.is_empty() && (!version_match.is_empty() || from_anywhere) {
                forbid(&mut errors, "resourceVersionMatch is forbidden when continue is provided");
            }
        } else {
            if send_initial_events.is_some() {
                errors.push(field::Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
            }
            if !version_match.is_empty() {
                if resource_version.is_empty() {
                    forbid(&mut errors, "resourceVersionMatch is forbidden unless resourceVersion is provided");
                }
                if !continue_token.is_empty() {
                    forbid(&mut errors, "resourceVersionMatch is forbidden when continue is provided");
                }
                if !matches!(version_match, "Exact" | "NotOlderThan") {
                    errors.push(field::Error::not_supported(&path, version_match, &["Exact", "NotOlderThan", ""]));
                }
                if version_match == "Exact" && resource_version == "0" {
                    forbid(&mut errors, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
                }
            }
        }
        if !errors.is_empty() {
            return Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", &errors));
        }
        Ok(ListOptions {
            resource_version: resource_version.to_owned(),
            version_match: match version_match {
                "Exact" => Match::Exact,
                "NotOlderThan" => Match::NotOlderThan,
                _ => Match::Unset,
            },
            limit: usize::try_from(limit).unwrap_or_default(),
            continue_token: continue_token.to_owned(),
            timeout_seconds,
            bookmarks: query.bool("allowWatchBookmarks").unwrap_or_default(),
            send_initial_events,
        })
    }
}
