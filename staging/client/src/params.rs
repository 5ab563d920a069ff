//! What can be asked along with each verb. Upstream: `metav1.ListOptions` and its siblings.

use apimachinery::Value;
use apimachinery::meta::v1::{DeleteOptions, Preconditions};

use crate::request::Request;

/// For GET.
#[derive(Clone, Debug, Default)]
pub struct GetParams {
    pub resource_version: Option<String>,
}

/// For LIST and DELETE of a collection.
#[derive(Clone, Debug, Default)]
pub struct ListParams {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    /// Most items in one answer; zero for all.
    pub limit: u32,
    /// Where the answer before left off.
    pub continue_: String,
    /// Empty: most recent. `0`: whatever the server has at hand.
    pub resource_version: String,
    /// `Exact` or `NotOlderThan`.
    pub resource_version_match: String,
}

impl ListParams {
    pub fn labels(mut self, selector: impl Into<String>) -> ListParams {
        self.label_selector = Some(selector.into());
        self
    }

    pub fn fields(mut self, selector: impl Into<String>) -> ListParams {
        self.field_selector = Some(selector.into());
        self
    }

    pub(crate) fn put(&self, mut request: Request) -> Request {
        request = selectors(request, self.label_selector.as_deref(), self.field_selector.as_deref());
        if self.limit > 0 {
            request = request.query("limit", self.limit.to_string());
        }
        request = text(request, "continue", &self.continue_);
        request = text(request, "resourceVersion", &self.resource_version);
        text(request, "resourceVersionMatch", &self.resource_version_match)
    }
}

/// For WATCH.
#[derive(Clone, Debug, Default)]
pub struct WatchParams {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub resource_version: String,
    pub resource_version_match: String,
    pub allow_bookmarks: bool,
    /// Begin with what exists, as ADDED events, then a bookmark that says so.
    pub send_initial_events: bool,
    /// After how long the server is to end the watch.
    pub timeout_seconds: Option<u32>,
}

impl WatchParams {
    pub(crate) fn put(&self, request: Request) -> Request {
        let mut request = request.query("watch", "true").no_timeout();
        request = selectors(request, self.label_selector.as_deref(), self.field_selector.as_deref());
        request = text(request, "resourceVersion", &self.resource_version);
        request = text(request, "resourceVersionMatch", &self.resource_version_match);
        if self.allow_bookmarks {
            request = request.query("allowWatchBookmarks", "true");
        }
        if self.send_initial_events {
            request = request.query("sendInitialEvents", "true");
        }
        match self.timeout_seconds {
            Some(seconds) => request.query("timeoutSeconds", seconds.to_string()),
            None => request,
        }
    }
}

/// For create and update.
#[derive(Clone, Debug, Default)]
pub struct WriteParams {
    /// Do everything but store it.
    pub dry_run: bool,
    pub field_manager: String,
    /// `Ignore`, `Warn` or `Strict`.
    pub field_validation: String,
}

impl WriteParams {
    pub(crate) fn put(&self, mut request: Request) -> Request {
        if self.dry_run {
            request = request.query("dryRun", "All");
        }
        request = text(request, "fieldManager", &self.field_manager);
        text(request, "fieldValidation", &self.field_validation)
    }
}

/// A change in one of four forms.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902: a list of operations.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Merge by the schema's patch keys.
    Strategic(Value),
    /// The fields a manager wants as they are. Needs [`PatchParams::field_manager`].
    Apply(Value),
}

impl Patch {
    pub(crate) fn media_type(&self) -> &'static str {
        match self {
            Patch::Json(_) => "application/json-patch+json",
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Apply(_) => "application/apply-patch+yaml",
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Patch::Json(value) | Patch::Merge(value) | Patch::Strategic(value) | Patch::Apply(value) => value.to_vec(),
        }
    }
}

/// For PATCH.
#[derive(Clone, Debug, Default)]
pub struct PatchParams {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: String,
    /// Take fields over from other managers. Only for [`Patch::Apply`].
    pub force: bool,
}

impl PatchParams {
    /// As `manager`, for [`Patch::Apply`].
    pub fn apply(manager: impl Into<String>) -> PatchParams {
        PatchParams { field_manager: manager.into(), ..PatchParams::default() }
    }

    pub(crate) fn put(&self, mut request: Request) -> Request {
        if self.force {
            request = request.query("force", "true");
        }
        if self.dry_run {
            request = request.query("dryRun", "All");
        }
        request = text(request, "fieldManager", &self.field_manager);
        text(request, "fieldValidation", &self.field_validation)
    }
}

/// What happens to the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// For DELETE.
#[derive(Clone, Debug, Default)]
pub struct DeleteParams {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// Only this incarnation.
    pub uid: Option<String>,
    /// Only if unchanged.
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

impl DeleteParams {
    /// Deletes this incarnation only: a namesake made since is left alone.
    pub fn of_uid(uid: impl Into<String>) -> DeleteParams {
        DeleteParams { uid: Some(uid.into()), ..DeleteParams::default() }
    }

    pub fn background() -> DeleteParams {
        DeleteParams { propagation: Some(Propagation::Background), ..DeleteParams::default() }
    }

    pub fn foreground() -> DeleteParams {
        DeleteParams { propagation: Some(Propagation::Foreground), ..DeleteParams::default() }
    }

    pub fn grace(mut self, seconds: i64) -> DeleteParams {
        self.grace_period_seconds = Some(seconds);
        self
    }

    pub(crate) fn options(&self) -> DeleteOptions {
        let preconditions = (self.uid.is_some() || self.resource_version.is_some())
            .then(|| Box::new(Preconditions { uid: self.uid.clone(), resource_version: self.resource_version.clone() }));
        let mut options = DeleteOptions { grace_period_seconds: self.grace_period_seconds, preconditions, ..DeleteOptions::default() };
        options.propagation_policy = self.propagation.map(|policy| format!("{policy:?}"));
        if self.dry_run {
            options.dry_run.push("All".to_string());
        }
        options
    }
}

fn selectors(mut request: Request, labels: Option<&str>, fields: Option<&str>) -> Request {
    request = text(request, "labelSelector", labels.unwrap_or_default());
    text(request, "fieldSelector", fields.unwrap_or_default())
}

fn text(request: Request, name: &str, value: &str) -> Request {
    if value.is_empty() { request } else { request.query(name, value) }
}
