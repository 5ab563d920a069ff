//! The core group, and coordination.

use std::sync::Arc;

use super::runner::{NoObjects, Score, replay};
use crate::{Config, coordination, core};

/// At least so many decisions and causes agree, of a thousand.
const FLOORS: &[(&str, &str, usize, usize)] = &[
    ("core", "ConfigMap", 1000, 1000),
    ("core", "Namespace", 1000, 1000),
    ("core", "Secret", 1000, 1000),
    ("core", "ServiceAccount", 1000, 1000),
    ("core", "Event", 1000, 1000),
    ("events", "Event", 1000, 1000),
    ("core", "Node", 1000, 1000),
    ("core", "Pod", 985, 980),
    ("core", "Service", 1000, 990),
    ("core", "Endpoints", 1000, 1000),
    ("core", "LimitRange", 990, 990),
    ("core", "PersistentVolume", 1000, 965),
    ("core", "PersistentVolumeClaim", 1000, 1000),
    ("core", "PodTemplate", 1000, 1000),
    ("core", "ReplicationController", 1000, 1000),
    ("core", "ResourceQuota", 1000, 1000),
    ("coordination", "Lease", 1000, 1000),
];

#[test]
fn answers_like_upstream() {
    let config = Config { service_ip_ranges: vec!["10.96.0.0/16".parse().unwrap()], allow_privileged: true, ..Config::default() };
    config.objects.set(Arc::new(NoObjects));
    let mut defs = core::resources(&config);
    defs.extend(coordination::resources());
    let mut worse = Vec::new();
    for (file, kind, decisions, causes) in FLOORS {
        let def = defs.iter().find(|def| def.hub.kind == *kind).expect("the kind is registered");
        let Some(score) = replay(file, kind, def) else { return };
        let Score { cases, .. } = score;
        if score.decisions * 1000 < decisions * cases || score.causes * 1000 < causes * cases {
            worse.push(format!("{file} {kind}: {score:?}"));
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}
