//! Typed access to one resource. Upstream: the generated clients of `client-go/kubernetes/typed`.

use std::marker::PhantomData;

use apimachinery::gvk::GroupVersionResource;
use apimachinery::meta::v1::{PartialObjectMetadata, Status};
use apimachinery::wire::{Kind, ListResource, Resource};
use http::Method;

use crate::client::Client;
use crate::encoding::{JSON, PROTOBUF, decode, encode, status};
use crate::error::Error;
use crate::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, WatchParams, WriteParams};
use crate::request::Request;
use crate::resource::ResourcePath;
use crate::watch::Watch;

/// One kind of object on one server: `Api::<Pod>::namespaced(&client, "default")`.
///
/// Cheap to clone. A thin shell over [`ResourcePath`]: only encoding and decoding know `K`.
pub struct Api<K> {
    client: Client,
    path: ResourcePath,
    /// Only names, labels and owners are wanted, of objects whose type nobody here knows.
    metadata_only: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Api<K> {
        Api { client: self.client.clone(), path: self.path.clone(), metadata_only: self.metadata_only, kind: PhantomData }
    }
}

impl<K> std::fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a DELETE left: the object, still there while finalizers or a grace period keep it, or word that it is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted<K> {
    Object(Box<K>),
    Status(Box<Status>),
}

impl<K: Resource> Api<K> {
    /// The kind in all namespaces, or a cluster-scoped one. To write to namespaced objects, see [`within`](Self::within).
    pub fn all(client: &Client) -> Api<K> {
        Api::at(client, "")
    }

    /// The kind in one namespace.
    pub fn namespaced(client: &Client, namespace: &str) -> Api<K> {
        Api::at(client, if K::NAMESPACED { namespace } else { "" })
    }

    fn at(client: &Client, namespace: &str) -> Api<K> {
        let resource = GroupVersionResource::new(K::GROUP, K::VERSION, K::PLURAL);
        Api { client: client.clone(), path: ResourcePath::new(resource, namespace), metadata_only: false, kind: PhantomData }
    }

    /// The same kind in this namespace; for a cluster-scoped kind, itself.
    pub fn within(&self, namespace: &str) -> Api<K> {
        let mut other = self.clone();
        if K::NAMESPACED || self.metadata_only {
            other.path.namespace = namespace.to_string();
        }
        other
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn path(&self) -> &ResourcePath {
        &self.path
    }

    fn accept(&self, request: Request, list: bool) -> Request {
        let suffix = match (self.metadata_only, list) {
            (false, _) => "",
            (true, false) => ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            (true, true) => ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        };
        match self.client.uses_protobuf() {
            true => request.accept(&format!("{PROTOBUF}{suffix},{JSON}{suffix}")),
            false => request.accept(&format!("{JSON}{suffix}")),
        }
    }

    async fn fetch<R: Kind>(&self, request: Request) -> Result<R, Error> {
        decode(&self.client.fetch(self.accept(request, false)).await?)
    }

    pub async fn get(&self, name: &str) -> Result<K, Error> {
        self.get_with(name, &GetParams::default()).await
    }

    pub async fn get_with(&self, name: &str, params: &GetParams) -> Result<K, Error> {
        self.fetch(self.path.get(name, "", params)?).await
    }

    /// As [`get`](Self::get), with "not there" as an answer and not an error.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(err) if err.is_not_found() => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// One page: all of it unless [`ListParams::limit`] is set.
    pub async fn list(&self, params: &ListParams) -> Result<K::List, Error> {
        decode(&self.client.fetch(self.accept(self.path.list(params)?, true)).await?)
    }

    /// Every item, asked for page by page of [`ListParams::limit`].
    pub async fn list_all(&self, params: &ListParams) -> Result<Vec<K>, Error> {
        let mut params = params.clone();
        let mut items = Vec::new();
        loop {
            let list = self.list(&params).await?;
            params.continue_ = list.list_meta().continue_.clone();
            // A continued list is at the revision of its first page.
            params.resource_version.clear();
            params.resource_version_match.clear();
            items.extend(list.into_items());
            if params.continue_.is_empty() {
                return Ok(items);
            }
        }
    }

    pub async fn watch(&self, params: &WatchParams) -> Result<Watch<K>, Error> {
        let response = self.client.send(self.accept(self.path.watch(params)?, false)).await?;
        Ok(Watch::new(response))
    }

    pub async fn create(&self, object: &K) -> Result<K, Error> {
        self.create_with(object, &WriteParams::default()).await
    }

    pub async fn create_with(&self, object: &K, params: &WriteParams) -> Result<K, Error> {
        self.put_body(params.put(self.path.create()?), object).await
    }

    pub async fn update(&self, object: &K) -> Result<K, Error> {
        self.update_with(object, "", &WriteParams::default()).await
    }

    /// Replaces `.status` (and what the kind's status subresource covers) only.
    pub async fn update_status(&self, object: &K) -> Result<K, Error> {
        self.update_with(object, "status", &WriteParams::default()).await
    }

    /// Replaces the object through `subresource`, or itself if that is empty.
    pub async fn update_with(&self, object: &K, subresource: &str, params: &WriteParams) -> Result<K, Error> {
        let request = self.path.on_object(Method::PUT, &object.metadata().name, subresource)?;
        self.put_body(params.put(request), object).await
    }

    async fn put_body<B: Kind, R: Kind>(&self, request: Request, body: &B) -> Result<R, Error> {
        let (media_type, bytes) = encode(body, self.client.uses_protobuf());
        self.fetch(request.body(media_type, bytes)).await
    }

    pub async fn patch(&self, name: &str, patch: &Patch, params: &PatchParams) -> Result<K, Error> {
        self.fetch(self.path.patch(name, "", patch, params)?).await
    }

    pub async fn patch_status(&self, name: &str, patch: &Patch, params: &PatchParams) -> Result<K, Error> {
        self.patch_subresource(name, "status", patch, params).await
    }

    pub async fn patch_subresource<R: Kind>(&self, name: &str, subresource: &str, patch: &Patch, params: &PatchParams) -> Result<R, Error> {
        self.fetch(self.path.patch(name, subresource, patch, params)?).await
    }

    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<Deleted<K>, Error> {
        let body = self.client.fetch(self.accept(self.path.delete(name, params)?, false)).await?;
        match status(&body) {
            Some(status) => Ok(Deleted::Status(Box::new(status))),
            None => Ok(Deleted::Object(Box::new(decode(&body)?))),
        }
    }

    /// Deletes what `list` selects.
    pub async fn delete_collection(&self, delete: &DeleteParams, list: &ListParams) -> Result<(), Error> {
        self.client.fetch(self.accept(self.path.delete_collection(delete, list)?, true)).await.map(drop)
    }

    /// Reads a subresource: `api.get_subresource::<Scale>("web", "scale")`.
    pub async fn get_subresource<R: Kind>(&self, name: &str, subresource: &str) -> Result<R, Error> {
        self.fetch(self.path.get(name, subresource, &GetParams::default())?).await
    }

    /// Posts to a subresource: eviction, binding, token. An answer that is a plain success decodes to an empty `R`
    /// unless `R` is [`Status`].
    pub async fn create_subresource<B: Kind, R: Kind>(&self, name: &str, subresource: &str, body: &B) -> Result<R, Error> {
        let (media_type, bytes) = encode(body, self.client.uses_protobuf());
        let request = self.path.on_object(Method::POST, name, subresource)?.body(media_type, bytes);
        let answer = self.client.fetch(self.accept(request, false)).await?;
        if R::KIND != Status::KIND && status(&answer).is_some() {
            return Ok(R::default());
        }
        decode(&answer)
    }

    /// Replaces a subresource of another kind: scale, approval.
    pub async fn update_subresource<B: Kind, R: Kind>(&self, name: &str, subresource: &str, body: &B) -> Result<R, Error> {
        let request = self.path.on_object(Method::PUT, name, subresource)?;
        self.put_body(request, body).await
    }
}

impl Api<PartialObjectMetadata> {
    /// The metadata of any resource, known or not: what the garbage collector watches. `namespace` empty for all.
    ///
    /// Reads, patches and deletes work; the server refuses to create or update through it.
    pub fn metadata(client: &Client, resource: GroupVersionResource, namespace: &str) -> Api<PartialObjectMetadata> {
        Api { client: client.clone(), path: ResourcePath::new(resource, namespace), metadata_only: true, kind: PhantomData }
    }
}
