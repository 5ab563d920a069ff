//! Access to a resource whose type is known only at run time. Upstream: `client-go/dynamic`.

use apimachinery::Value;
use apimachinery::gvk::GroupVersionResource;
use http::Method;

use crate::client::Client;
use crate::encoding::{JSON, decode_value};
use crate::error::Error;
use crate::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, WatchParams, WriteParams};
use crate::request::Request;
use crate::resource::ResourcePath;
use crate::watch::DynamicWatch;

/// One resource on one server, its objects as value trees. Always JSON.
#[derive(Clone, Debug)]
pub struct DynamicApi {
    client: Client,
    path: ResourcePath,
}

impl DynamicApi {
    /// `namespace` empty: cluster-scoped, or all namespaces.
    pub fn new(client: &Client, resource: GroupVersionResource, namespace: &str) -> DynamicApi {
        DynamicApi { client: client.clone(), path: ResourcePath::new(resource, namespace) }
    }

    pub fn within(&self, namespace: &str) -> DynamicApi {
        DynamicApi::new(&self.client, self.path.resource.clone(), namespace)
    }

    pub fn path(&self) -> &ResourcePath {
        &self.path
    }

    async fn fetch(&self, request: Request) -> Result<Value, Error> {
        decode_value(&self.client.fetch(request.accept(JSON)).await?)
    }

    pub async fn get(&self, name: &str, subresource: &str) -> Result<Value, Error> {
        self.fetch(self.path.get(name, subresource, &GetParams::default())?).await
    }

    /// The list object as the server gave it: one page.
    pub async fn list(&self, params: &ListParams) -> Result<Value, Error> {
        self.fetch(self.path.list(params)?).await
    }

    pub async fn watch(&self, params: &WatchParams) -> Result<DynamicWatch, Error> {
        Ok(DynamicWatch::new(self.client.send(self.path.watch(params)?.accept(JSON)).await?))
    }

    pub async fn create(&self, object: &Value, params: &WriteParams) -> Result<Value, Error> {
        self.fetch(params.put(self.path.create()?).body(JSON, object.to_vec())).await
    }

    /// Posts to a subresource of `name`.
    pub async fn create_subresource(&self, name: &str, subresource: &str, body: &Value, params: &WriteParams) -> Result<Value, Error> {
        let request = self.path.on_object(Method::POST, name, subresource)?;
        self.fetch(params.put(request).body(JSON, body.to_vec())).await
    }

    /// Replaces `name`, or its `subresource` if that is not empty.
    pub async fn update(&self, name: &str, subresource: &str, object: &Value, params: &WriteParams) -> Result<Value, Error> {
        let request = self.path.on_object(Method::PUT, name, subresource)?;
        self.fetch(params.put(request).body(JSON, object.to_vec())).await
    }

    pub async fn patch(&self, name: &str, subresource: &str, patch: &Patch, params: &PatchParams) -> Result<Value, Error> {
        self.fetch(self.path.patch(name, subresource, patch, params)?).await
    }

    /// The object while something keeps it, or a Status.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<Value, Error> {
        self.fetch(self.path.delete(name, params)?).await
    }

    pub async fn delete_collection(&self, delete: &DeleteParams, list: &ListParams) -> Result<(), Error> {
        self.client.fetch(self.path.delete_collection(delete, list)?.accept(JSON)).await.map(drop)
    }
}
