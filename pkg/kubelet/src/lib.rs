//! The node agent: runs the pods bound to its node on a container runtime and tells the API server how they are.
//!
//! It owns everything on the node that belongs to pods: containers (through the runtime interface), volumes, cgroups,
//! logs. It never decides where a pod runs, and never touches another node's. After its own restart it adopts what runs.
//! Start reading in [`pod_workers`], then [`kuberuntime::actions`]. Upstream: pkg/kubelet.

pub mod kubelet;
pub mod options;
pub mod settings;

pub mod node;
pub mod pod_workers;
pub mod pods;

pub mod config;
pub mod sources;

pub mod cm;
pub mod dns;
pub mod images;
pub mod kuberuntime;
pub mod lifecycle;
pub mod logs;
pub mod pleg;
pub mod prober;
pub mod volume;

pub mod housekeeping;
pub mod machine;
pub mod nodestatus;
pub mod server;
pub mod status;

pub mod api_server;
pub mod client;
pub mod objects;
pub mod recorder;

pub mod backoff;
pub mod clock;
pub mod fieldpath;
