//! Files of a volume out of the data of config maps, secrets and the pod itself.

use super::atomic_writer::{File, Payload};
use crate::fieldpath::{self, Addresses};
use crate::kuberuntime::env::find_container;
use crate::node::Node;
use api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

/// The mode of files where nobody says otherwise.
pub const DEFAULT_MODE: i32 = 0o644;

fn file(data: Vec<u8>, mode: Option<i32>, default: i32) -> File {
    File { data, mode: mode.unwrap_or(default) as u32, user: None }
}

/// All keys, or those named by `items` at the paths given there.
fn select(data: Vec<(&str, Vec<u8>)>, items: &[KeyToPath], mode: i32, optional: bool) -> Result<Payload, String> {
    if items.is_empty() {
        return Ok(data.into_iter().map(|(key, value)| (key.to_owned(), file(value, None, mode))).collect());
    }
    let mut payload = Payload::new();
    for item in items {
        match data.iter().find(|(key, _)| *key == item.key) {
            Some((_, value)) => {
                payload.insert(item.path.clone(), file(value.clone(), item.mode, mode));
            }
            None if optional => {}
            None => return Err("references non-existent config key: ".to_owned() + &item.key),
        }
    }
    Ok(payload)
}

pub fn config_map(map: &ConfigMap, items: &[KeyToPath], mode: i32, optional: bool) -> Result<Payload, String> {
    let text = map.data.iter().map(|(key, value)| (key, value.clone().into_bytes()));
    let binary = map.binary_data.iter().map(|(key, value)| (key, value.to_vec()));
    select(text.chain(binary).collect(), items, mode, optional)
}

pub fn secret(secret: &Secret, items: &[KeyToPath], mode: i32, optional: bool) -> Result<Payload, String> {
    let data = secret.data.iter().map(|(key, value)| (key, value.to_vec())).collect();
    select(data, items, mode, optional).map_err(|err| err.replace("config key", "secret key"))
}

pub fn downward_api(node: &Node, pod: &Pod, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Payload, String> {
    let allocatable = node.allocatable();
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(selector) = &item.field_ref {
            // Addresses are for the environment alone: a volume is made before the pod has any.
            fieldpath::field(pod, &selector.field_path, &Addresses::default())?
        } else if let Some(selector) = &item.resource_field_ref {
            let container =
                find_container(pod, &selector.container_name).ok_or_else(|| format!("container {} not found", selector.container_name))?;
            fieldpath::resource(selector, container, &allocatable)?
        } else {
            return Err(format!("{}: neither fieldRef nor resourceFieldRef is set", item.path));
        };
        payload.insert(item.path.clone(), file(text.into_bytes(), item.mode, mode));
    }
    Ok(payload)
}
