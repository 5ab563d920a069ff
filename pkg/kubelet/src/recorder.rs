//! Events about pods and the node, through the shared event recorder.

use crate::api_server::Events;
use api::core::v1::{ObjectReference, Pod};

/// Writes events to the API server, or nowhere but the log.
pub struct EventRecorder {
    recorder: Option<informer::Recorder>,
    node: String,
}

impl EventRecorder {
    pub fn new(recorder: Option<informer::Recorder>, node: &str) -> Self {
        EventRecorder { recorder, node: node.to_owned() }
    }

    fn tell(&self, about: &ObjectReference, kind: &str, reason: &str, message: &str) {
        tracing::debug!(object = %about.name, namespace = %about.namespace, kind, reason, text = message, "Event occurred");
        if let Some(recorder) = &self.recorder {
            recorder.event(about, kind, reason, message);
        }
    }
}

impl Events for EventRecorder {
    fn pod(&self, pod: &Pod, field_path: Option<&str>, kind: &str, reason: &str, message: &str) {
        let meta = &pod.metadata;
        let about = ObjectReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: field_path.unwrap_or_default().to_owned(),
        };
        self.tell(&about, kind, reason, message);
    }

    fn node(&self, kind: &str, reason: &str, message: &str) {
        // Events about nodes carry the node's name where others carry a UID: kubectl describe looks for that.
        let about = ObjectReference { kind: "Node".into(), name: self.node.clone(), uid: self.node.clone(), ..Default::default() };
        self.tell(&about, kind, reason, message);
    }
}
