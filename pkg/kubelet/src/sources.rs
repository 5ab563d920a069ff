//! The API server's side of the kubelet: its connection, its informers, its event recorder.

use crate::config::{PodChange, SOURCE};
use crate::node::Services;
use api::core::v1::{Pod, Service};
use api_config::kubelet::v1beta1::KubeletConfiguration;
use client::kubeconfig::{Kubeconfig, Overrides};
use client::{Api, Client};
use component_base::tasks::Tasks;
use informer::events::Broadcaster;
use informer::{Event, Informer, InformerOptions, Recorder};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A client as the kubeconfig says, at the rate the configuration allows.
pub fn connect(kubeconfig: &Path, file: &KubeletConfiguration) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let resolved = Kubeconfig::read(kubeconfig)?.resolve(&Overrides::default())?;
    let mut config = resolved.config.with_user_agent("kubelet");
    config.qps = file.kube_apiqps.map_or(50.0, |qps| qps as f32);
    config.burst = u32::try_from(file.kube_api_burst).unwrap_or(100);
    config.protobuf = file.content_type == "application/vnd.kubernetes.protobuf";
    Ok(Client::new(&config)?)
}

pub fn recorder(client: &Client, node: &str, tasks: &mut Tasks) -> Recorder {
    let broadcaster = Broadcaster::new();
    let recorder = broadcaster.recorder("kubelet", node);
    let client = client.clone();
    tasks.spawn("events", move |stop| async move { broadcaster.run(client, stop).await });
    recorder
}

struct ServiceInformer(Informer<Service>);

impl Services for ServiceInformer {
    fn list(&self) -> Vec<Arc<Service>> {
        self.0.list()
    }
}

pub fn services(client: &Client, tasks: &mut Tasks) -> Arc<dyn Services> {
    let informer = Informer::new(Api::<Service>::all(client));
    let running = informer.clone();
    tasks.spawn("services", move |stop| async move { running.run(stop).await });
    Arc::new(ServiceInformer(informer))
}

/// Sends on each change of a pod bound to this node.
pub fn pods(client: &Client, node: &str, changes: mpsc::Sender<PodChange>, tasks: &mut Tasks) {
    let options = InformerOptions { field_selector: Some(format!("spec.nodeName={node}")), ..Default::default() };
    let informer = Informer::with(Api::<Pod>::all(client), options);
    // Handlers cannot wait; what they pass on is bounded by the pods of one node.
    let (told, mut queue) = mpsc::unbounded_channel();
    let sender = told.clone();
    informer.on_event(move |event: &Event<Pod>| {
        let change = match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } => PodChange::Set(marked(pod)),
            Event::Deleted(pod) => PodChange::Gone(pod.clone()),
        };
        let _ = sender.send(change);
    });
    tasks.spawn("pod changes", move |stop| async move {
        loop {
            let change = tokio::select! {
                change = queue.recv() => change,
                () = stop.cancelled() => return,
            };
            let Some(change) = change else { return };
            if changes.send(change).await.is_err() {
                return stop.cancelled().await;
            }
        }
    });
    tasks.spawn("pod informer", move |stop| async move {
        let running = informer.clone();
        let synced = async {
            informer.wait_for_sync().await;
            let _ = told.send(PodChange::Synced);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = running.run(stop) => {}
            () = synced => {}
        }
    });
}

/// Pods say where they came from; the API server does not write that down.
fn marked(pod: &Arc<Pod>) -> Arc<Pod> {
    if pod.metadata.annotations.contains_key(SOURCE) {
        return pod.clone();
    }
    let mut pod = (**pod).clone();
    pod.metadata.annotations.insert(SOURCE, "api".to_owned());
    Arc::new(pod)
}
