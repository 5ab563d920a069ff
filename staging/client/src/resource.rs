//! Where a resource lives in the server's URL space, and requests to it: what [`Api`](crate::Api) and
//! [`DynamicApi`](crate::DynamicApi) share, with no type of object in it.

use apimachinery::gvk::{GroupResource, GroupVersionResource};
use http::Method;

use crate::client::About;
use crate::encoding::{JSON, encode};
use crate::error::Error;
use crate::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, WatchParams};
use crate::request::{Request, escape_into};

/// A resource, all of it or in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePath {
    pub resource: GroupVersionResource,
    /// Empty: cluster-scoped, or all namespaces.
    pub namespace: String,
}

impl ResourcePath {
    pub fn new(resource: GroupVersionResource, namespace: impl Into<String>) -> ResourcePath {
        ResourcePath { resource, namespace: namespace.into() }
    }

    /// `/apis/apps/v1/namespaces/default/deployments`.
    pub fn collection(&self) -> Result<String, Error> {
        let resource = &self.resource;
        let mut path = match resource.group.is_empty() {
            true => format!("/api/{}", resource.version),
            false => format!("/apis/{}/{}", resource.group, resource.version),
        };
        if !self.namespace.is_empty() {
            path.push_str("/namespaces/");
            push_segment(&mut path, "namespace", &self.namespace)?;
        }
        path.push('/');
        path.push_str(&resource.resource);
        Ok(path)
    }

    /// The collection's path, then name, then subresource.
    pub fn object(&self, name: &str, subresource: &str) -> Result<String, Error> {
        if name.is_empty() {
            return Err(Error::Request("resource name may not be empty".into()));
        }
        let mut path = self.collection()?;
        path.push('/');
        push_segment(&mut path, "resource name", name)?;
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        Ok(path)
    }

    fn about(&self, name: &str) -> About {
        let resource = GroupResource::new(self.resource.group.clone(), self.resource.resource.clone());
        About { resource, name: name.to_string() }
    }

    fn on_collection(&self, method: Method) -> Result<Request, Error> {
        let mut request = Request::new(method, self.collection()?);
        request.about = self.about("");
        Ok(request)
    }

    pub(crate) fn on_object(&self, method: Method, name: &str, subresource: &str) -> Result<Request, Error> {
        let mut request = Request::new(method, self.object(name, subresource)?);
        request.about = self.about(name);
        Ok(request)
    }

    pub(crate) fn get(&self, name: &str, subresource: &str, params: &GetParams) -> Result<Request, Error> {
        let request = self.on_object(Method::GET, name, subresource)?;
        Ok(match &params.resource_version {
            Some(version) => request.query("resourceVersion", version.as_str()),
            None => request,
        })
    }

    pub(crate) fn list(&self, params: &ListParams) -> Result<Request, Error> {
        Ok(params.put(self.on_collection(Method::GET)?))
    }

    pub(crate) fn watch(&self, params: &WatchParams) -> Result<Request, Error> {
        Ok(params.put(self.on_collection(Method::GET)?))
    }

    pub(crate) fn create(&self) -> Result<Request, Error> {
        self.on_collection(Method::POST)
    }

    pub(crate) fn patch(&self, name: &str, subresource: &str, patch: &Patch, params: &PatchParams) -> Result<Request, Error> {
        if params.force && !matches!(patch, Patch::Apply(_)) {
            return Err(Error::Request("force is only for apply patches".into()));
        }
        if params.field_manager.is_empty() && matches!(patch, Patch::Apply(_)) {
            return Err(Error::Request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch".into(),
            ));
        }
        Ok(params.put(self.on_object(Method::PATCH, name, subresource)?).body(patch.media_type(), patch.to_bytes()))
    }

    pub(crate) fn delete(&self, name: &str, params: &DeleteParams) -> Result<Request, Error> {
        Ok(self.on_object(Method::DELETE, name, "")?.body(JSON, encode(&params.options(), false).1))
    }

    pub(crate) fn delete_collection(&self, delete: &DeleteParams, list: &ListParams) -> Result<Request, Error> {
        Ok(list.put(self.on_collection(Method::DELETE)?).body(JSON, encode(&delete.options(), false).1))
    }
}

/// Names go into the path as they are, so what would change its meaning is refused, as upstream refuses it.
fn push_segment(path: &mut String, what: &str, segment: &str) -> Result<(), Error> {
    let problem = match segment {
        "." | ".." => Some(format!("may not be '{segment}'")),
        _ => ['/', '%'].into_iter().find(|c| segment.contains(*c)).map(|c| format!("may not contain '{c}'")),
    };
    if let Some(problem) = problem {
        return Err(Error::Request(format!("invalid {what} {segment:?}: [{problem}]")));
    }
    escape_into(path, segment);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(group: &str, namespace: &str, name: &str, subresource: &str, expected: &str) {
        let path = ResourcePath::new(GroupVersionResource::new(group, "v1", "things"), namespace);
        let told = path.object(name, subresource).unwrap_or_else(|err| err.to_string());
        assert_eq!(told, expected);
    }

    #[test]
    fn paths() {
        check("", "", "a", "", "/api/v1/things/a");
        check("apps", "ns", "a", "status", "/apis/apps/v1/namespaces/ns/things/a/status");
        check("rbac.authorization.k8s.io", "", "system:node", "", "/apis/rbac.authorization.k8s.io/v1/things/system%3Anode");
        check("", "ns", "", "", "invalid request: resource name may not be empty");
        check("", "ns", "a/b", "", "invalid request: invalid resource name \"a/b\": [may not contain '/']");
        check("", "..", "a", "", "invalid request: invalid namespace \"..\": [may not be '..']");
    }
}
