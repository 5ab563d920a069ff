//! One informer per kind for a whole process. Upstream: the `SharedInformerFactory` of `client-go/informers`.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::gvk::GroupVersionResource;
use apimachinery::meta::v1::PartialObjectMetadata;
use apimachinery::wire::Resource;
use client::{Api, Client};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::informer::{Informer, InformerOptions};

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Empty for all.
    pub namespace: String,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

/// Hands out shared informers and runs them together. Clones share everything.
#[derive(Clone)]
pub struct Informers {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    state: Mutex<State>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct State {
    informers: HashMap<Key, Box<dyn AnyInformer>>,
    /// Set while running: informers asked for from then on start at once.
    running: Option<CancellationToken>,
}

/// Kind, selection, and for metadata informers the resource.
type Key = (TypeId, Selection, Option<GroupVersionResource>);

/// An informer whose kind does not matter.
trait AnyInformer: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn start(&self, tracker: &TaskTracker, stop: CancellationToken);
    fn wait_for_sync(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    fn describe(&self) -> String;
}

impl<K: Resource> AnyInformer for Informer<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn start(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let informer = self.clone();
        tracker.spawn(async move { informer.run(stop).await });
    }

    fn wait_for_sync(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let informer = self.clone();
        Box::pin(async move { informer.wait_for_sync().await })
    }

    fn describe(&self) -> String {
        let mut text = format!("{} resourceVersion={} objects={}\n", K::KIND, self.resource_version(), self.store().len());
        for step in self.history() {
            text.push_str(&format!("  {step:?}\n"));
        }
        text
    }
}

impl Informers {
    pub fn new(client: &Client) -> Informers {
        Informers { inner: Arc::new(Inner { client: client.clone(), state: Mutex::default(), tracker: TaskTracker::new() }) }
    }

    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The informer of all objects of this kind.
    pub fn of<K: Resource>(&self) -> Informer<K> {
        self.select(Selection::default())
    }

    /// The informer of some objects of this kind: the kubelet's own Pods, one namespace's ConfigMaps.
    pub fn select<K: Resource>(&self, selection: Selection) -> Informer<K> {
        let client = &self.inner.client;
        let api = if selection.namespace.is_empty() { Api::all(client) } else { Api::namespaced(client, &selection.namespace) };
        self.shared((TypeId::of::<K>(), selection, None), api)
    }

    /// The informer of any resource's metadata.
    pub fn metadata(&self, resource: &GroupVersionResource) -> Informer<PartialObjectMetadata> {
        let api = Api::metadata(&self.inner.client, resource.clone(), "");
        self.shared((TypeId::of::<PartialObjectMetadata>(), Selection::default(), Some(resource.clone())), api)
    }

    fn shared<K: Resource>(&self, key: Key, api: Api<K>) -> Informer<K> {
        let mut state = self.inner.state.lock();
        if let Some(known) = state.informers.get(&key).and_then(|informer| informer.as_any().downcast_ref::<Informer<K>>()) {
            return known.clone();
        }
        let options = InformerOptions {
            label_selector: key.1.label_selector.clone(),
            field_selector: key.1.field_selector.clone(),
            ..InformerOptions::default()
        };
        let informer = Informer::with(api, options);
        if let Some(stop) = &state.running {
            informer.start(&self.inner.tracker, stop.clone());
        }
        state.informers.insert(key, Box::new(informer.clone()));
        informer
    }

    /// Runs all informers, those asked for later included, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        {
            let mut state = self.inner.state.lock();
            if state.running.is_none() {
                state.running = Some(stop.clone());
                for informer in state.informers.values() {
                    informer.start(&self.inner.tracker, stop.clone());
                }
            }
        }
        stop.cancelled().await;
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// Waits until every informer asked for so far has the server's state. False if `stop` came first.
    pub async fn wait_for_sync(&self, stop: &CancellationToken) -> bool {
        let waits: Vec<_> = self.inner.state.lock().informers.values().map(|informer| informer.wait_for_sync()).collect();
        for wait in waits {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = wait => {}
            }
        }
        true
    }

    /// What each informer did lately, as text for a debug page.
    pub fn describe(&self) -> String {
        let mut all: Vec<String> = self.inner.state.lock().informers.values().map(|informer| informer.describe()).collect();
        all.sort();
        all.concat()
    }
}
