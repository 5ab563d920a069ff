//! What happens to a request for a resource once it was let in: one file per verb. Upstream: apiserver/pkg/endpoints/handlers.

pub mod create;
pub mod decode;
pub mod delete;
mod delete_collection;
mod get;
mod list;
mod list_options;
pub mod negotiate;
mod output;
mod patch;
mod present;
pub mod query;
pub mod respond;
mod scale;
mod selection;
mod subresource;
mod update;
mod watch;
pub(crate) mod write;

use std::sync::Arc;

use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::status::StatusError;
use component_base::http::{Request, Response};
use http::HeaderMap;

use self::query::Query;
use crate::admission::{Operation, Review};
use crate::cache::{Media, View};
use crate::facts;
use crate::kinds::{Kind, VersionId};
use crate::request::RequestContext;
use crate::rest::Subresource;
use crate::server::Server;

/// A request for a resource, and what serves it.
#[derive(Clone)]
pub struct Call {
    pub server: Arc<Server>,
    pub kind: Arc<Kind>,
    /// The facts of the version in the URL.
    pub facts: &'static facts::Resource,
    pub version: VersionId,
    pub context: Arc<RequestContext>,
    pub query: Query,
    pub headers: HeaderMap,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Hands a request to the file of its verb.
pub async fn serve(call: Call, request: Request) -> Result<Response, StatusError> {
    let info = call.context.info.clone();
    if info.subresource.is_empty() {
        // Objects are made in collections, and changed by their names.
        let misplaced = match info.verb {
            "create" => !info.name.is_empty(),
            "update" | "patch" => info.name.is_empty(),
            _ => false,
        };
        if misplaced || !call.facts.has_verb(info.verb) {
            return Err(method_not_allowed());
        }
        if !call.kind.is_stored() {
            return subresource::answered(&call, request).await;
        }
        return match info.verb {
            "get" => get::get(&call).await,
            "list" => list::list(&call).await,
            "watch" => watch::watch(&call).await,
            "create" => create::create(&call, request).await,
            "update" => update::update(&call, request).await,
            "patch" => patch::patch(&call, request).await,
            "delete" => delete::delete(&call, request).await,
            "deletecollection" => delete_collection::delete_collection(&call, request).await,
            _ => Err(method_not_allowed()),
        };
    }
    let Some(sub) = call.facts.subresource(&info.subresource) else { return Err(no_such_resource()) };
    let Some(served) = call.kind.def.subresource(&info.subresource) else {
        return Err(not_served(&format!("{}/{}", call.facts.resource, info.subresource), call.facts));
    };
    if !info.rest.is_empty() && !matches!(served, Subresource::Connect(_)) {
        return Err(no_such_resource());
    }
    let connects = matches!(served, Subresource::Connect(_));
    let known = sub.verbs.contains(&info.verb) || (connects && sub.verbs.contains(&connect_verb(info.verb)));
    if !known {
        return Err(method_not_allowed());
    }
    match (served, info.verb) {
        (Subresource::Connect(connecter), _) => subresource::connect(&call, connecter.as_ref(), request).await,
        (Subresource::Create(creater), "create") => subresource::create(&call, creater.as_ref(), request).await,
        (Subresource::Scale(access), _) => scale::scale(&call, access, request).await,
        (Subresource::Write(_), "get") => get::get(&call).await,
        (Subresource::Write(_), "update") => update::update(&call, request).await,
        (Subresource::Write(_), "patch") => patch::patch(&call, request).await,
        _ => Err(method_not_allowed()),
    }
}

/// Tables name a connect by the method it mostly has.
fn connect_verb(verb: &str) -> &str {
    if verb == "get" { "create" } else { "get" }
}

/// What upstream answers for a method a path does not have.
pub fn method_not_allowed() -> StatusError {
    StatusError::generic(405, "", &GroupResource::default(), "", "", 0, false)
}

/// What upstream answers for a path below a group version that nobody serves.
pub fn no_such_resource() -> StatusError {
    StatusError::generic(404, "", &GroupResource::default(), "", "", 0, false)
}

/// A resource of the API that this build has no rules for yet: refused, never half served.
pub fn not_served(what: &str, facts: &facts::Resource) -> StatusError {
    let message = format!("{what} in {} is not served by this build: its validation or admission is not there yet", facts.group_version());
    StatusError::new(405, apimachinery::status::reason::METHOD_NOT_ALLOWED, message)
}

impl Call {
    /// The resource in messages: `deployments.apps`.
    pub fn resource(&self) -> GroupResource {
        GroupResource::new(self.facts.group, self.facts.resource)
    }

    /// The kind in messages: `Deployment.apps`.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.facts.group, self.facts.kind)
    }

    pub fn namespace(&self) -> &str {
        if self.facts.namespaced { &self.context.info.namespace } else { "" }
    }

    pub fn name(&self) -> &str {
        &self.context.info.name
    }

    pub fn not_found(&self) -> StatusError {
        StatusError::not_found(&self.resource(), self.name())
    }

    pub fn view(&self, media: Media) -> View {
        View { version: self.version, media }
    }

    /// The same call for an object of another namespace (deletes over all namespaces).
    pub fn in_namespace(&self, namespace: &str) -> Call {
        let mut call = self.clone();
        if call.facts.namespaced && call.context.info.namespace != namespace {
            let mut info = (*call.context.info).clone();
            namespace.clone_into(&mut info.namespace);
            call.context = Arc::new(call.context.with_info(info));
        }
        call
    }

    /// The rules of what the URL names: the resource's, or those of its subresource.
    pub fn strategy(&self) -> &dyn crate::rest::ErasedStrategy {
        match self.kind.def.subresource(&self.context.info.subresource) {
            Some(Subresource::Write(strategy)) => strategy.as_ref(),
            _ => self.kind.strategy(),
        }
    }

    /// A review of a write for admission.
    pub fn review<'a>(
        &'a self,
        operation: Operation,
        name: &'a str,
        object: Option<&'a mut dyn apimachinery::Object>,
        old: Option<&'a dyn apimachinery::Object>,
        options: &'a [u8],
    ) -> Review<'a> {
        let hub = &self.kind.def.hub;
        Review {
            context: &self.context,
            operation,
            group: hub.group,
            version: hub.version,
            kind: hub.kind,
            resource: self.kind.def.resource,
            subresource: &self.context.info.subresource,
            namespace: &self.context.info.namespace,
            name,
            object,
            old,
            options,
        }
    }

    /// Mutating admission.
    pub async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        for plugin in self.server.admission() {
            if plugin.handles(review.operation) {
                plugin.admit(review).await?;
            }
        }
        Ok(())
    }

    /// Validating admission.
    pub async fn admission_validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        for plugin in self.server.admission() {
            if plugin.handles(review.operation) {
                plugin.validate(review).await?;
            }
        }
        Ok(())
    }
}
