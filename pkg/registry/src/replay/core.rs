//! The core group, and coordination.

use std::sync::Arc;

use super::runner::{NoObjects, Score, replay};
use crate::{Config, coordination, core};

/// At least so many decisions and causes agree, of a thousand.
const FLOORS: &[(&str, &str, usize, usize)] = &[
    ("core", "ConfigMap", 0, 0),
    ("core", "Namespace", 0, 0),
    ("core", "Secret", 0, 0),
    ("core", "ServiceAccount", 0, 0),
    ("core", "Event", 0, 0),
    ("events", "Event", 0, 0),
    ("core", "Node", 0, 0),
    ("core", "Pod", 0, 0),
    ("core", "Service", 0, 0),
    ("core", "Endpoints", 0, 0),
    ("core", "LimitRange", 0, 0),
    ("core", "PersistentVolume", 0, 0),
    ("core", "PersistentVolumeClaim", 0, 0),
    ("core", "PodTemplate", 0, 0),
    ("core", "ReplicationController", 0, 0),
    ("core", "ResourceQuota", 0, 0),
    ("coordination", "Lease", 0, 0),
];

#[test]
fn answers_like_upstream() {
    let config = Config { service_ip_ranges: vec!["10.96.0.0/16".parse().unwrap()], ..Config::default() };
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
