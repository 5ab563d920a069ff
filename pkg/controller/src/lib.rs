//! The control loops of kube-controller-manager: one module per controller, one line here to register it.
//!
//! A controller is a pure `plan` and `next_status` over one look at the caches, and a thin shell that carries the plan out
//! (`Reconcile` of `pkg/informer`). It never talks to another controller except through API objects, and never to a node.
//! Upstream: pkg/controller, and cmd/kube-controller-manager/app/*.go for how they are started. Start reading at [`all`],
//! then at [`replicaset`], the simplest of those that write pods.

mod context;
mod history;
mod identity;
mod owned;
mod pods;
mod settings;
mod shell;
mod template;
mod wake;

pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod job;
pub mod replicaset;
pub mod statefulset;

pub mod certificates;
pub mod clusterroleaggregation;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod garbagecollector;
pub mod namespace;
mod node_pods;
pub mod nodeipam;
pub mod nodelifecycle;
pub mod podgc;
pub mod resourcequota;
pub mod root_ca;
mod service_pods;
pub mod serviceaccount;
pub mod storageprotection;
pub mod tainteviction;
pub mod tokencleaner;
pub mod ttlafterfinished;

pub use context::{ControllerContext, Registration, Sources, StartError, Started};
pub use identity::Identities;
pub use settings::{Settings, SignerFiles, Signers, Workers};
pub use shell::WriteError;

/// Every controller this program has, in the order they are started. `--controllers` selects among them by these names.
pub fn all() -> Vec<Registration> {
    vec![
        deployment::DEPLOYMENT,
        replicaset::REPLICA_SET,
        replicaset::REPLICATION_CONTROLLER,
        daemonset::DAEMON_SET,
        statefulset::STATEFUL_SET,
        job::JOB,
        cronjob::CRON_JOB,
        namespace::REGISTRATION,
        garbagecollector::REGISTRATION,
        serviceaccount::REGISTRATION,
        root_ca::REGISTRATION,
        endpointslice::REGISTRATION,
        endpoints::REGISTRATION,
        nodelifecycle::REGISTRATION,
        tainteviction::REGISTRATION,
        nodeipam::REGISTRATION,
        podgc::REGISTRATION,
        ttlafterfinished::REGISTRATION,
        clusterroleaggregation::REGISTRATION,
        storageprotection::CLAIMS,
        storageprotection::VOLUMES,
        disruption::REGISTRATION,
        resourcequota::REGISTRATION,
        certificates::APPROVER,
        certificates::SIGNER,
        certificates::CLEANER,
        tokencleaner::REGISTRATION,
    ]
}
