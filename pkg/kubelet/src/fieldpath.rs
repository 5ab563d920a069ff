//! The downward API: what a pod may know about itself, by field path or resource name.

use api::core::v1::{Container, Pod, ResourceFieldSelector};
use apimachinery::{Map, Quantity};

/// `metadata.labels['a']` -> (`metadata.labels`, `a`).
fn split_subscript(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_suffix("']")?;
    let (field, key) = inner.split_once("['")?;
    (!field.is_empty()).then_some((field, key))
}

/// A map as the downward API prints it: one `key="value"` per line, by key.
fn format_map(map: &Map<String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// A Go string literal.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What only the node knows while the pod starts: the API has it later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub pod: Vec<String>,
    pub host: Vec<String>,
}

/// The value of a field, or why there is none.
pub fn field(pod: &Pod, path: &str, addresses: &Addresses) -> Result<String, String> {
    if let Some((field, key)) = split_subscript(path) {
        let map = match field {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.annotations" => format_map(&pod.metadata.annotations),
        "metadata.labels" => format_map(&pod.metadata.labels),
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" => first(&addresses.host),
        "status.hostIPs" => addresses.host.join(","),
        "status.podIP" => first(&addresses.pod),
        "status.podIPs" => addresses.pod.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of a container's resource in units of the divisor, rounded up. A limit that is not set is the node's all.
pub fn resource(selector: &ResourceFieldSelector, container: &Container, allocatable: &Map<Quantity>) -> Result<String, String> {
    let (kind, name) =
        selector.resource.split_once('.').ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let supported = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let quantity = match kind {
        "limits" if supported => container.resources.limits.get(name).filter(|q| !q.is_zero()).or_else(|| allocatable.get(name)),
        "requests" if supported => container.resources.requests.get(name).or_else(|| container.resources.limits.get(name)),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let (scaled, divisor) = match name {
        "cpu" => (quantity.map_or(0, Quantity::milli_value), selector.divisor.milli_value()),
        _ => (quantity.map_or(0, Quantity::value), selector.divisor.value()),
    };
    let divisor = match (divisor, name) {
        (0, "cpu") => 1000,
        (0, _) => 1,
        (divisor, _) => divisor,
    };
    // Rounded up: 1.5 cores in whole cores are 2.
    Ok(((i128::from(scaled) + i128::from(divisor) - 1) / i128::from(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        pod.metadata.labels = [("b", "2"), ("a", "x\"y")].map(|(k, v)| (k, v.to_owned())).into();
        let addresses = Addresses { pod: vec!["10.0.0.1".into(), "fd00::1".into()], host: vec!["192.0.2.1".into()] };
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.labels", "a=\"x\\\"y\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.annotations['none']", ""),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            ("status.hostIP", "192.0.2.1"),
        ] {
            assert_eq!(field(&pod, path, &addresses).as_deref(), Ok(value), "{path}");
        }
        assert!(field(&pod, "spec.containers", &addresses).is_err());
        assert!(field(&pod, "metadata.name['a']", &addresses).is_err());
    }

    #[test]
    fn resources_are_rounded_up() {
        let quantities =
            |items: &[(&str, &str)]| items.iter().map(|(k, v)| ((*k).to_owned(), v.parse().unwrap())).collect::<Map<Quantity>>();
        let mut container = Container::default();
        container.resources.requests = quantities(&[("cpu", "1500m"), ("memory", "10Mi")]);
        let allocatable = quantities(&[("cpu", "4"), ("memory", "1Gi")]);
        for (name, divisor, value) in [
            ("requests.cpu", "", "2"),
            ("requests.cpu", "1m", "1500"),
            ("limits.cpu", "1", "4"),
            ("requests.memory", "1Mi", "10"),
            ("limits.memory", "", "1073741824"),
        ] {
            let divisor = if divisor.is_empty() { Quantity::default() } else { divisor.parse().unwrap() };
            let selector = ResourceFieldSelector { resource: name.into(), divisor, ..Default::default() };
            assert_eq!(resource(&selector, &container, &allocatable).as_deref(), Ok(value), "{name}");
        }
    }
}
