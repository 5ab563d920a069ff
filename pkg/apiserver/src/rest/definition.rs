//! [`ResourceDef`]: all that makes one resource servable.

use std::sync::Arc;

use apimachinery::Resource;
use apimachinery::wire::TypeInfo;

use super::connect::{Connecter, Creater};
use super::convert::Convert;
use super::hooks::Hooks;
use super::scale::ScaleAccess;
use super::strategy::{ErasedStrategy, Strategy, erase};

/// How a resource's objects come to be.
#[derive(Clone)]
pub enum Serving {
    /// They are kept in the store, under the rules of a strategy.
    Stored(Arc<dyn ErasedStrategy>),
    /// A create is answered and nothing is kept: access reviews, token reviews, `bindings`.
    Answered(Arc<dyn Creater>),
}

/// What is served below an object's name.
#[derive(Clone)]
pub enum Subresource {
    /// Reads and writes the object itself under rules of its own: `status`, `approval`, `finalize`, `ephemeralcontainers`, `resize`.
    Write(Arc<dyn ErasedStrategy>),
    /// Reads and writes the number of replicas.
    Scale(ScaleAccess),
    /// Takes a POST of another kind: `binding`, `eviction`, `token`.
    Create(Arc<dyn Creater>),
    /// Answers requests on its own: `log`, `exec`, `attach`, `portforward`, `proxy`.
    Connect(Arc<dyn Connecter>),
}

/// A resource as `registry` declares it: one per place in the store, whatever number of versions is served.
///
/// Names, verbs, columns and where it is stored come from [`crate::facts`]. What is in the facts and not declared here is refused with 405.
#[derive(Clone)]
pub struct ResourceDef {
    pub group: &'static str,
    pub resource: &'static str,
    /// The kind that strategies, admission and validation work on. Served in its own version, and in those of `versions`.
    pub hub: TypeInfo,
    pub serving: Serving,
    pub subresources: Vec<(&'static str, Subresource)>,
    /// Other versions that are served, or that stored objects may have.
    pub versions: Vec<Arc<dyn Convert>>,
    pub hooks: Option<Arc<dyn Hooks>>,
}

impl std::fmt::Debug for ResourceDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subresources: Vec<_> = self.subresources.iter().map(|(name, _)| *name).collect();
        f.debug_struct("ResourceDef")
            .field("group", &self.group)
            .field("resource", &self.resource)
            .field("subresources", &subresources)
            .finish_non_exhaustive()
    }
}

impl ResourceDef {
    /// A resource that is kept in the store.
    pub fn stored<S: Strategy>(strategy: S) -> Self {
        Self::new::<S::Object>(Serving::Stored(erase(strategy)))
    }

    /// A resource of which a create is answered and nothing kept.
    pub fn answered<T: Resource>(creater: impl Creater) -> Self {
        Self::new::<T>(Serving::Answered(Arc::new(creater)))
    }

    fn new<T: Resource>(serving: Serving) -> Self {
        Self {
            group: T::GROUP,
            resource: T::PLURAL,
            hub: TypeInfo::of::<T>(),
            serving,
            subresources: Vec::new(),
            versions: Vec::new(),
            hooks: None,
        }
    }

    /// Serves a subresource that writes the object itself under other rules.
    pub fn write<S: Strategy>(mut self, name: &'static str, strategy: S) -> Self {
        self.subresources.push((name, Subresource::Write(erase(strategy))));
        self
    }

    /// Serves `status`.
    pub fn status<S: Strategy>(self, strategy: S) -> Self {
        self.write("status", strategy)
    }

    /// Serves `scale`.
    pub fn scale(mut self, access: ScaleAccess) -> Self {
        self.subresources.push(("scale", Subresource::Scale(access)));
        self
    }

    /// Serves a POST below an object.
    pub fn create(mut self, name: &'static str, creater: impl Creater) -> Self {
        self.subresources.push((name, Subresource::Create(Arc::new(creater))));
        self
    }

    /// Serves a subresource that answers on its own.
    pub fn connect(mut self, name: &'static str, connecter: impl Connecter) -> Self {
        self.subresources.push((name, Subresource::Connect(Arc::new(connecter))));
        self
    }

    /// Serves (or reads from the store) a further version.
    pub fn version(mut self, convert: impl Convert) -> Self {
        self.versions.push(Arc::new(convert));
        self
    }

    /// Adds I/O around writes: allocation of addresses and ports, for example.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Some(Arc::new(hooks));
        self
    }

    /// What serves a subresource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|(found, _)| *found == name).map(|(_, subresource)| subresource)
    }
}
