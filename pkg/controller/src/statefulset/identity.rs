//! What makes a Pod of a set itself: name, host name, labels, claims.
//!
//! Upstream: pkg/controller/statefulset/stateful_set_utils.go.

use api::apps::v1::StatefulSet;
use api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use apimachinery::List;
use apimachinery::meta::v1::OwnerReference;
use component_helpers::owners::controller_reference;

use crate::history::HASH_LABEL;
use crate::pods::from_template;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in the name of a Pod of the set called `set`.
pub(super) fn ordinal_of(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) { None } else { digits.parse().ok() }
}

/// A new Pod of the revision called `revision`, whose template `set` has.
pub(super) fn new_pod(set: &StatefulSet, revision: &str, ordinal: i32) -> Pod {
    let mut pod = from_template(&set.spec.template, &set.metadata.namespace, controller_reference(set));
    let name = format!("{}-{ordinal}", set.metadata.name);
    pod.metadata.generate_name.clear();
    pod.spec.hostname = name.clone();
    pod.spec.subdomain = set.spec.service_name.clone();
    pod.metadata.name = name;
    pod.metadata.labels.insert(HASH_LABEL, revision.to_string());
    with_identity(set, &pod, ordinal)
}

/// The Pod with the labels and volumes that its ordinal gives it.
pub(super) fn with_identity(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.labels.insert(POD_NAME, pod.metadata.name.clone());
    pod.metadata.labels.insert(POD_INDEX, ordinal.to_string());
    for template in &set.spec.volume_claim_templates {
        let name = claim_name(set, &template.metadata.name, ordinal);
        let of_this = |volume: &Volume| volume.name == template.metadata.name;
        let holds = |volume: &Volume| volume.volume_source.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == name);
        if pod.spec.volumes.iter().any(|volume| of_this(volume) && holds(volume)) {
            continue;
        }
        pod.spec.volumes.retain(|volume| !of_this(volume));
        let mut volume = Volume { name: template.metadata.name.clone(), ..Volume::default() };
        let source = PersistentVolumeClaimVolumeSource { claim_name: name, ..Default::default() };
        volume.volume_source.persistent_volume_claim = Some(Box::new(source));
        pod.spec.volumes.push(volume);
    }
    pod
}

fn claim_name(set: &StatefulSet, template: &str, ordinal: i32) -> String {
    format!("{template}-{}-{ordinal}", set.metadata.name)
}

/// The claims of the Pod with this ordinal, as they are made.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let one = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = claim_name(set, &template.metadata.name, ordinal);
        claim.metadata.namespace = set.metadata.namespace.clone();
        if let Some(selector) = &set.spec.selector {
            for (key, value) in &selector.match_labels {
                claim.metadata.labels.insert(key, value.clone());
            }
        }
        claim
    };
    set.spec.volume_claim_templates.iter().map(one).collect()
}

/// Sets by whose end the claim goes too, as the retention policy has it: the set's, a surplus Pod's, or nobody's.
/// True if that changes the claim.
pub(super) fn set_claim_owners(set: &StatefulSet, claim: &mut PersistentVolumeClaim, pod: &Pod, surplus: bool) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_deref();
    let deletes = |when: Option<&str>| when == Some("Delete");
    let when_scaled = deletes(policy.map(|policy| policy.when_scaled.as_str()));
    let when_deleted = deletes(policy.map(|policy| policy.when_deleted.as_str()));
    let own = |api_version: &str, kind: &str, name: &str, uid: &str| OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let wanted = if surplus && when_scaled {
        Some(own("v1", "Pod", &pod.metadata.name, &pod.metadata.uid))
    } else if when_deleted {
        Some(own("apps/v1", "StatefulSet", &set.metadata.name, &set.metadata.uid))
    } else {
        None
    };
    let before: Vec<OwnerReference> = claim.metadata.owner_references.to_vec();
    let ours = |owner: &OwnerReference| {
        (owner.kind == "StatefulSet" && owner.name == set.metadata.name) || (owner.kind == "Pod" && owner.name == pod.metadata.name)
    };
    if wanted
        .as_ref()
        .is_some_and(|wanted| before.iter().filter(|owner| ours(owner)).all(|owner| owner.uid == wanted.uid) && before.iter().any(ours))
    {
        return false;
    }
    // Somebody else sees to this claim.
    if wanted.is_some() && before.iter().any(|owner| owner.controller == Some(true) && !ours(owner)) {
        return false;
    }
    let mut after: Vec<OwnerReference> = before.iter().filter(|owner| !ours(owner)).cloned().collect();
    after.extend(wanted);
    let changed = after != before;
    if changed {
        claim.metadata.owner_references = if after.is_empty() { List::nil() } else { after.into() };
    }
    changed
}
