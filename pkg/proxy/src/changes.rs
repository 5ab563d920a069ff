//! Events of the API server on their way to the loop that applies them.
//!
//! The handlers of the informers put what is new here, under the key of its object, and the loop takes all of it at
//! once: however many events come during one transaction, they cost one more, and the memory is bounded by the number
//! of objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use ipnetwork::IpNetwork;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::service::{NodeInfo, PortEndpoints, Service, ServiceName};

/// Namespace and name of an EndpointSlice.
pub type SliceName = (String, String);

/// What has changed since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// `None` for a Service that is gone or no longer ours.
    pub services: HashMap<ServiceName, Option<Service>>,
    /// `None` for a slice that is gone or no longer ours.
    pub slices: HashMap<SliceName, Option<(ServiceName, PortEndpoints)>>,
    pub node: Option<NodeInfo>,
    /// All ranges that cluster IPs are taken from, if they have changed.
    pub service_cidrs: Option<Vec<IpNetwork>>,
    /// When the causes of the changed endpoints happened, as far as the slices tell.
    pub triggered: Vec<SystemTime>,
    /// Events, of which several may have become one change.
    pub service_events: u64,
    pub endpoint_events: u64,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slices.is_empty() && self.node.is_none() && self.service_cidrs.is_none()
    }
}

/// Collects changes. Clones are the same collector.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    changes: Mutex<Changes>,
    arrived: Notify,
}

impl Collector {
    pub fn service(&self, name: ServiceName, service: Option<Service>) {
        self.put(|changes| {
            changes.service_events += 1;
            changes.services.insert(name, service);
        });
    }

    /// `triggered` is when the cause happened: annotation `endpoints.kubernetes.io/last-change-trigger-time`.
    pub fn slice(&self, name: SliceName, slice: Option<(ServiceName, PortEndpoints)>, triggered: Option<SystemTime>) {
        self.put(|changes| {
            changes.endpoint_events += 1;
            changes.triggered.extend(triggered);
            changes.slices.insert(name, slice);
        });
    }

    pub fn node(&self, node: NodeInfo) {
        self.put(|changes| changes.node = Some(node));
    }

    /// All ranges that cluster IPs are taken from.
    pub fn service_cidrs(&self, cidrs: Vec<IpNetwork>) {
        self.put(|changes| changes.service_cidrs = Some(cidrs));
    }

    /// Takes what has come so far.
    pub fn take(&self) -> Changes {
        std::mem::take(&mut self.inner.changes.lock())
    }

    /// Waits until something has come since the last call. Cancel-safe.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }

    /// Services and endpoints that wait to be applied.
    pub fn pending(&self) -> (usize, usize) {
        let changes = self.inner.changes.lock();
        (changes.services.len(), changes.slices.len())
    }

    fn put(&self, change: impl FnOnce(&mut Changes)) {
        change(&mut self.inner.changes.lock());
        self.inner.arrived.notify_one();
    }
}
