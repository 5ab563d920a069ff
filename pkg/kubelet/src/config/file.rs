//! Static pods: one manifest per file in a directory that is watched.

use super::{HASH, PodChange, SEEN, SOURCE};
use crate::clock;
use api::core::v1::{Pod, Toleration};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the directory is looked at besides `fileCheckFrequency`: a stat per file.
const POLL: Duration = Duration::from_secs(1);

/// A stable stand-in for a UID: the same manifest on the same node is the same pod.
fn digest(text: &[u8], node: &str, path: &Path) -> String {
    // 128 bits of FNV-1a; only accidents need be ruled out.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in text.iter().chain(node.as_bytes()).chain(path.as_os_str().as_encoded_bytes()) {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    format!("{hash:032x}")
}

/// The pod a manifest describes, completed as upstream completes it.
pub fn parse(text: &[u8], node: &str, path: &Path) -> Result<Pod, String> {
    let value = apimachinery::yaml::parse(text).map_err(|err| err.to_string())?;
    match (value.str_at(&["apiVersion"]), value.str_at(&["kind"])) {
        (Some("v1"), Some("Pod")) => {}
        (version, kind) => {
            return Err(format!("invalid pod: apiVersion {:?}, kind {:?}", version.unwrap_or_default(), kind.unwrap_or_default()));
        }
    }
    let (mut pod, unknown): (Pod, _) = apimachinery::json::from_slice_strict(&value.to_vec()).map_err(|err| err.to_string())?;
    if !unknown.is_empty() {
        return Err(format!("strict decoding error: {}", unknown.join(", ")));
    }
    if pod.metadata.name.is_empty() {
        return Err("invalid pod: metadata.name: Required value".to_owned());
    }
    if pod.spec.containers.is_empty() {
        return Err("invalid pod: spec.containers: Required value".to_owned());
    }
    let hash = digest(text, node, path);
    if pod.metadata.uid.is_empty() {
        pod.metadata.uid = hash.clone();
    }
    pod.metadata.name = format!("{}-{}", pod.metadata.name, node.to_lowercase());
    if pod.metadata.namespace.is_empty() {
        pod.metadata.namespace = "default".into();
    }
    pod.spec.node_name = node.to_owned();
    let now = clock::rfc3339_nanos(clock::now_nanos());
    pod.metadata.creation_timestamp = apimachinery::Time::now();
    for (key, value) in [(HASH, hash), (SOURCE, "file".to_owned()), (SEEN, now)] {
        pod.metadata.annotations.insert(key, value);
    }
    pod.spec.tolerations.push(Toleration { operator: "Exists".into(), effect: "NoExecute".into(), ..Default::default() });
    apply_defaults(&mut pod);
    pod.status.phase = "Pending".into();
    Ok(pod)
}

/// The defaults an API server would have filled in, as far as the kubelet reads them.
fn apply_defaults(pod: &mut Pod) {
    let spec = &mut pod.spec;
    let set = |field: &mut String, value: &str| {
        if field.is_empty() {
            *field = value.to_owned();
        }
    };
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    spec.enable_service_links.get_or_insert(true);
    spec.termination_grace_period_seconds.get_or_insert(30);
    for container in spec.init_containers.iter_mut().chain(spec.containers.iter_mut()) {
        set(&mut container.termination_message_path, "/dev/termination-log");
        set(&mut container.termination_message_policy, "File");
        for port in container.ports.iter_mut() {
            set(&mut port.protocol, "TCP");
        }
        for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe].into_iter().flatten() {
            for (field, default) in [
                (&mut probe.timeout_seconds, 1),
                (&mut probe.period_seconds, 10),
                (&mut probe.success_threshold, 1),
                (&mut probe.failure_threshold, 3),
            ] {
                if *field == 0 {
                    *field = default;
                }
            }
        }
        let limits = container.resources.limits.clone();
        for (name, limit) in limits.iter() {
            if !container.resources.requests.contains_key(name) {
                container.resources.requests.insert(name, limit.clone());
            }
        }
    }
}

/// Files and their state; a change of it is reason to read them again.
fn state(path: &Path) -> BTreeMap<PathBuf, (u64, Option<std::time::SystemTime>)> {
    let mut files = Vec::new();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => files.extend(std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())),
        Ok(_) => files.push(path.to_owned()),
        Err(_) => {}
    }
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    files
        .into_iter()
        .filter(|file| !hidden(file))
        .filter_map(|file| {
            let meta = std::fs::metadata(&file).ok().filter(std::fs::Metadata::is_file)?;
            Some((file, (meta.len(), meta.modified().ok())))
        })
        .collect()
}

fn read(path: &Path, node: &str) -> Vec<Pod> {
    let mut pods = Vec::new();
    for file in state(path).keys() {
        match std::fs::read(file).map_err(|err| err.to_string()).and_then(|text| parse(&text, node, file)) {
            Ok(pod) => pods.push(pod),
            Err(err) => tracing::error!(file = %file.display(), err, "cannot use the manifest of a static pod"),
        }
    }
    pods
}

/// Tells of all pods in `path` at the start and whenever a file changes.
pub async fn run(path: PathBuf, node: String, period: Duration, changes: mpsc::Sender<PodChange>, stop: CancellationToken) {
    let mut known = None;
    loop {
        let now = state(&path);
        if known.as_ref() != Some(&now) {
            known = Some(now);
            if changes.send(PodChange::Files(read(&path, &node))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(period.min(POLL)) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn a_manifest_is_completed() {
        let pod = parse(MANIFEST.as_bytes(), "Node1", Path::new("/m/web.yaml")).unwrap();
        assert_eq!(
            (pod.metadata.name.as_str(), pod.metadata.namespace.as_str(), pod.spec.node_name.as_str()),
            ("web-node1", "default", "Node1")
        );
        assert_eq!(pod.metadata.uid.len(), 32);
        assert!(super::super::is_static(&pod) && !super::super::is_mirror(&pod));
        assert_eq!(pod.metadata.uid, parse(MANIFEST.as_bytes(), "Node1", Path::new("/m/web.yaml")).unwrap().metadata.uid);
        assert_ne!(pod.metadata.uid, parse(MANIFEST.as_bytes(), "node2", Path::new("/m/web.yaml")).unwrap().metadata.uid);
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for text in [
            "kind: Service\napiVersion: v1",
            "{",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}",
            &MANIFEST.replace("name: c", "nome: c, name: c"),
        ] {
            assert!(parse(text.as_bytes(), "n", Path::new("/m")).is_err(), "{text}");
        }
    }
}
