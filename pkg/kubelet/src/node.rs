//! What every part of the kubelet works with: the node's configuration, its runtime and the API server.

use crate::api_server::{ApiServer, Events};
use crate::backoff::Backoffs;
use crate::cm::PodCgroups;
use crate::dns::Resolver;
use crate::images::Puller;
use crate::kuberuntime::status::PodStatus;
use crate::objects::Objects;
use crate::prober::Prober;
use crate::settings::Settings;
use crate::status::StatusManager;
use api::core::v1::Service;
use apimachinery::{Map, Quantity};
use cri_api::RuntimeServiceClient;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The cluster's services, for environments.
pub trait Services: Send + Sync {
    fn list(&self) -> Vec<Arc<Service>>;
}

/// The last known state of each pod in the runtime, by UID.
#[derive(Default)]
pub struct RuntimeCache(Mutex<HashMap<String, Arc<PodStatus>>>);

impl RuntimeCache {
    pub fn get(&self, uid: &str) -> Option<Arc<PodStatus>> {
        self.0.lock().expect("no holder panics").get(uid).cloned()
    }

    pub fn set(&self, status: Arc<PodStatus>) {
        self.0.lock().expect("no holder panics").insert(status.uid.clone(), status);
    }

    pub fn forget(&self, uid: &str) {
        self.0.lock().expect("no holder panics").remove(uid);
    }
}

pub struct Node {
    pub settings: Settings,
    pub server: Arc<dyn ApiServer>,
    /// Without one (standalone) there are no mirrors and no node object.
    pub has_server: bool,
    pub events: Arc<dyn Events>,
    pub runtime: RuntimeServiceClient,
    pub images: Puller,
    pub cgroups: PodCgroups,
    pub objects: Arc<dyn Objects>,
    pub services: Arc<dyn Services>,
    pub resolver: Resolver,
    pub probes: Arc<Prober>,
    pub cache: RuntimeCache,
    /// Of crashing containers.
    pub backoffs: Backoffs,
    pub statuses: StatusManager,
    pub allocatable: Map<Quantity>,
}

impl Node {
    pub fn allocatable(&self) -> Map<Quantity> {
        self.allocatable.clone()
    }
}
