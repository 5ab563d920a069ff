//! Who asks, and for what: the values every later step of a request reads.

use std::sync::Arc;

use parking_lot::Mutex;

/// An authenticated (or anonymous) user. Upstream: apiserver/pkg/authentication/user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// Sorted by key.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// True if the user is in this group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What a URL asks for. Upstream: apiserver/pkg/endpoints/request.RequestInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// True below `/api` and `/apis`, once a version is named.
    pub is_resource: bool,
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; `proxy` never; the lower-case method for other URLs.
    pub verb: &'static str,
    /// `api` or `apis`.
    pub api_prefix: String,
    pub group: String,
    pub version: String,
    /// Empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows resource, name and subresource: the path of a proxy request.
    pub rest: Vec<String>,
    /// As sent, for authorizers that look at them.
    pub field_selector: String,
    pub label_selector: String,
}

/// One request on its way through the server. Cheap to share; handed to strategies, admission and storage.
#[derive(Debug)]
pub struct RequestContext {
    pub user: Arc<User>,
    pub info: Arc<RequestInfo>,
    /// `?dryRun=All`: everything happens but the write.
    pub dry_run: bool,
    /// Who owns the fields this request writes: `?fieldManager`, else the user agent up to its first slash.
    pub field_manager: String,
    pub user_agent: String,
    pub client_address: Option<std::net::IpAddr>,
    /// Texts for `Warning` headers, without duplicates, in order.
    warnings: Mutex<Vec<String>>,
}

impl RequestContext {
    /// A context without warnings.
    pub fn new(user: Arc<User>, info: Arc<RequestInfo>) -> Self {
        Self {
            user,
            info,
            dry_run: false,
            field_manager: String::new(),
            user_agent: String::new(),
            client_address: None,
            warnings: Mutex::new(Vec::new()),
        }
    }

    /// The same request asking for something else; it has no warnings yet.
    pub fn with_info(&self, info: RequestInfo) -> Self {
        Self {
            dry_run: self.dry_run,
            field_manager: self.field_manager.clone(),
            user_agent: self.user_agent.clone(),
            client_address: self.client_address,
            ..Self::new(self.user.clone(), Arc::new(info))
        }
    }

    /// Adds a warning for the client; one already there is not repeated.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Takes the warnings gathered so far.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock())
    }
}
