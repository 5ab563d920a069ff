//! The storage.k8s.io group. Upstream: pkg/registry/storage, pkg/apis/storage.

mod classes;
mod csi;

use apiserver::rest::ResourceDef;

/// The group's resources. VolumeAttachments and storage capacities wait for the controllers that use them.
pub fn resources() -> Vec<ResourceDef> {
    vec![
        ResourceDef::stored(classes::StorageClassStrategy),
        ResourceDef::stored(classes::VolumeAttributesClassStrategy),
        ResourceDef::stored(csi::DriverStrategy),
        ResourceDef::stored(csi::NodeStrategy),
    ]
}
