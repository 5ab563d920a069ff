//! Pod templates compared, and hashed into names.
//!
//! Upstream: pkg/controller/controller_utils.go (ComputeHash), pkg/controller/deployment/util (EqualIgnoreHash).

use api::core::v1::PodTemplateSpec;
use apimachinery::names::safe_encode;
use apimachinery::proto;

/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Whether two templates ask for the same pods; the hash label does not count.
pub fn same(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    let (left, right) = (without_hash(left), without_hash(right));
    // The encoding, unlike the structs, does not tell an empty list from none.
    left == right || proto::to_vec(&left) == proto::to_vec(&right)
}

/// The template as its author wrote it.
pub fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    template.metadata.labels.remove(HASH_LABEL);
    template
}

/// A hash fit for names and labels. `collisions` is how often a name made of it was found taken by something else.
///
/// Not upstream's number, which hashes Go's dump of its structs: sets are found again by comparing templates.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    hash_bytes(&proto::to_vec(template), collisions)
}

/// As [`hash`], of anything.
pub fn hash_bytes(bytes: &[u8], collisions: Option<i32>) -> String {
    let collisions = collisions.map(i32::to_le_bytes);
    // FNV-1a with 32 bits, as upstream: names keep their length.
    let all = bytes.iter().chain(collisions.iter().flatten());
    let hash = all.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    safe_encode(&hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_label_does_not_count() {
        let mut one = PodTemplateSpec::default();
        one.spec.restart_policy = "Always".into();
        let mut two = one.clone();
        two.metadata.labels.insert(HASH_LABEL, "x".to_string());
        two.spec.init_containers = apimachinery::List::empty();
        assert!(same(&one, &two));
        assert_eq!(hash(&one, None), hash(&without_hash(&two), None));
        assert_ne!(hash(&one, None), hash(&one, Some(1)));
        two.spec.restart_policy = "Never".into();
        assert!(!same(&one, &two));
    }
}
