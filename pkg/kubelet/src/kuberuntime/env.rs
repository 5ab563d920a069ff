//! A container's environment: from services, config maps, secrets, the pod itself and literal values.

use super::expand::expand;
use crate::api_server::ApiError;
use crate::fieldpath::{self, Addresses};
use crate::objects::Objects;
use api::core::v1::{Container, EnvVarSource, Pod, Service};
use apimachinery::{Map, Quantity};
use std::collections::HashMap;

/// Variables in the order in which they were set; setting one again keeps its place.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Environment {
    pub fn set(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(at) => self.list[*at].1 = value,
            None => {
                self.index.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|at| self.list[*at].1.as_str())
    }

    pub fn into_vec(self) -> Vec<(String, String)> {
        self.list
    }
}

/// What the environment is made from, besides the container.
pub struct Sources<'a> {
    pub pod: &'a Pod,
    pub objects: &'a dyn Objects,
    pub services: &'a [std::sync::Arc<Service>],
    pub addresses: &'a Addresses,
    pub allocatable: &'a Map<Quantity>,
}

/// An environment, and the keys that were left out because no environment can hold them.
#[derive(Debug, Default)]
pub struct Built {
    pub environment: Environment,
    pub skipped: Vec<String>,
}

/// Fails with the text that becomes the container's CreateContainerConfigError.
pub async fn build(container: &Container, sources: &Sources<'_>) -> Result<Built, String> {
    let mut built = Built::default();
    let services = service_variables(sources);
    for source in container.env_from.iter() {
        let mut take = |kind: &str, name: &str, data: Vec<(String, String)>| {
            let (mut invalid, mut valid) = (Vec::new(), Vec::new());
            for (key, value) in data {
                let key = format!("{}{key}", source.prefix);
                if is_env_name(&key) { valid.push((key, value)) } else { invalid.push(key) }
            }
            for (key, value) in valid {
                built.environment.set(&key, value);
            }
            if !invalid.is_empty() {
                built.skipped.push(format!(
                    "Keys [{}] from the EnvFrom {kind} {}/{name} were skipped since they are considered invalid environment variable names.",
                    invalid.join(", "),
                    sources.pod.metadata.namespace
                ));
            }
        };
        if let Some(reference) = &source.config_map_ref {
            let name = &reference.local_object_reference.name;
            if let Some(map) = optional(sources.objects.config_map(sources.pod, name).await, reference.optional)? {
                take("configMap", name, map.data.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect());
            }
        } else if let Some(reference) = &source.secret_ref {
            let name = &reference.local_object_reference.name;
            if let Some(secret) = optional(sources.objects.secret(sources.pod, name).await, reference.optional)? {
                take("secret", name, secret.data.iter().map(|(k, v)| (k.to_owned(), text(v))).collect());
            }
        }
    }
    for variable in container.env.iter() {
        let value = match &variable.value_from {
            None => Some(expand(&variable.value, |name| built.environment.get(name).or_else(|| services.get(name)).map(str::to_owned))),
            Some(source) => value_from(container, source, sources).await?,
        };
        if let Some(value) = value {
            built.environment.set(&variable.name, value);
        }
    }
    for (name, value) in services.into_vec() {
        if built.environment.get(&name).is_none() {
            built.environment.set(&name, value);
        }
    }
    Ok(built)
}

fn text(bytes: &apimachinery::ByteString) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is missing is an error unless the reference is optional.
fn optional<T>(result: Result<T, ApiError>, optional: Option<bool>) -> Result<Option<T>, String> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(err) if err.is_not_found() && optional == Some(true) => Ok(None),
        Err(err) => Err(err.to_string()),
    }
}

async fn value_from(container: &Container, source: &EnvVarSource, sources: &Sources<'_>) -> Result<Option<String>, String> {
    let namespace = &sources.pod.metadata.namespace;
    if let Some(selector) = &source.field_ref {
        return fieldpath::field(sources.pod, &selector.field_path, sources.addresses).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        let target = match selector.container_name.as_str() {
            "" => container,
            name => find_container(sources.pod, name).ok_or_else(|| format!("container {name} not found"))?,
        };
        return fieldpath::resource(selector, target, sources.allocatable).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let name = &selector.local_object_reference.name;
        let Some(map) = optional(sources.objects.config_map(sources.pod, name).await, selector.optional)? else { return Ok(None) };
        return match map.data.get(&selector.key) {
            Some(value) => Ok(Some(value.clone())),
            None if selector.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {namespace}/{name}", selector.key)),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let name = &selector.local_object_reference.name;
        let Some(secret) = optional(sources.objects.secret(sources.pod, name).await, selector.optional)? else { return Ok(None) };
        return match secret.data.get(&selector.key) {
            Some(value) => Ok(Some(text(value))),
            None if selector.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{name}", selector.key)),
        };
    }
    if source.file_key_ref.is_some() {
        return Err("environment variables from files (fileKeyRef) are not supported by this kubelet yet".to_owned());
    }
    Ok(Some(String::new()))
}

pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.spec.containers.iter().chain(pod.spec.init_containers.iter()).find(|container| container.name == name)
}

/// Anything printable but `=`, and not empty.
fn is_env_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}

/// The services of the pod's namespace, unless it does not want them, and in any case the API server's own.
fn service_variables(sources: &Sources<'_>) -> Environment {
    let links = sources.pod.spec.enable_service_links.unwrap_or(true);
    let namespace = &sources.pod.metadata.namespace;
    let mut by_name: std::collections::BTreeMap<&str, &Service> = std::collections::BTreeMap::new();
    for service in sources.services {
        let meta = &service.metadata;
        if service.spec.cluster_ip.is_empty() || service.spec.cluster_ip == "None" {
            continue;
        }
        let is_own = links && meta.namespace == *namespace;
        let is_master = meta.namespace == "default" && meta.name == "kubernetes";
        // One of the pod's own namespace by the same name goes before the master's.
        if is_own || is_master && !by_name.contains_key("kubernetes") {
            by_name.insert(&meta.name, service);
        }
    }
    let mut environment = Environment::default();
    for service in by_name.values() {
        add_service(service, &mut environment);
    }
    environment
}

fn add_service(service: &Service, environment: &mut Environment) {
    let name = variable_name(&service.metadata.name);
    let ip = &service.spec.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let Some(first) = service.spec.ports.first() else { return };
    environment.set(&format!("{name}_SERVICE_HOST"), ip.clone());
    environment.set(&format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
        environment.set(&format!("{name}_SERVICE_PORT_{}", variable_name(&port.name)), port.port.to_string());
    }
    for (index, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            environment.set(&format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        environment.set(&prefix, url);
        environment.set(&format!("{prefix}_PROTO"), protocol.to_lowercase());
        environment.set(&format!("{prefix}_PORT"), port.port.to_string());
        environment.set(&format!("{prefix}_ADDR"), ip.clone());
    }
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::testing::Memory;
    use api::core::v1::{ConfigMap, EnvVar, ServicePort};
    use std::sync::Arc;

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        let mut service = Service::default();
        service.metadata.namespace = namespace.into();
        service.metadata.name = name.into();
        service.spec.cluster_ip = ip.into();
        service.spec.ports = vec![ServicePort { name: "web".into(), port: 80, protocol: "TCP".into(), ..Default::default() }].into();
        Arc::new(service)
    }

    async fn environment(container: Container, links: bool) -> Result<Vec<(String, String)>, String> {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.spec.enable_service_links = Some(links);
        let mut objects = Memory::default();
        let mut map = ConfigMap::default();
        map.metadata.name = "settings".into();
        map.data = [("color", "red"), ("bad=key", "x")].map(|(k, v)| (k, v.to_owned())).into();
        objects.config_maps.push(map);
        let services =
            [service("ns", "my-db", "10.0.0.2"), service("default", "kubernetes", "10.0.0.1"), service("ns", "headless", "None")];
        let sources =
            Sources { pod: &pod, objects: &objects, services: &services, addresses: &Addresses::default(), allocatable: &Map::default() };
        Ok(build(&container, &sources).await?.environment.into_vec())
    }

    fn literal(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into(), value_from: None }
    }

    fn from_map(name: &str, key: &str, optional: Option<bool>) -> EnvVar {
        let mut selector = api::core::v1::ConfigMapKeySelector { key: key.into(), optional, ..Default::default() };
        selector.local_object_reference.name = "settings".into();
        let source = EnvVarSource { config_map_key_ref: Some(Box::new(selector)), ..Default::default() };
        EnvVar { name: name.into(), value_from: Some(Box::new(source)), ..Default::default() }
    }

    fn get<'a>(list: &'a [(String, String)], name: &str) -> Option<&'a str> {
        list.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[tokio::test]
    async fn values_expand_what_came_before() {
        let env = vec![
            literal("A", "1"),
            from_map("COLOR", "color", None),
            literal("B", "$(A)-$(COLOR)-$(MY_DB_SERVICE_HOST)-$(LATER)"),
            literal("LATER", "x"),
        ];
        let list = environment(Container { env: env.into(), ..Default::default() }, true).await.unwrap();
        assert_eq!(get(&list, "B"), Some("1-red-10.0.0.2-$(LATER)"));
        assert_eq!(get(&list, "MY_DB_PORT_80_TCP"), Some("tcp://10.0.0.2:80"));
        assert_eq!(get(&list, "MY_DB_SERVICE_PORT_WEB"), Some("80"));
        assert_eq!(get(&list, "KUBERNETES_SERVICE_HOST"), Some("10.0.0.1"));
        assert_eq!(get(&list, "HEADLESS_SERVICE_HOST"), None);
    }

    #[tokio::test]
    async fn without_links_only_the_api_server_is_named() {
        let list = environment(Container::default(), false).await.unwrap();
        assert_eq!((get(&list, "MY_DB_SERVICE_HOST"), get(&list, "KUBERNETES_SERVICE_PORT")), (None, Some("80")));
    }

    #[tokio::test]
    async fn a_missing_key_is_an_error_unless_optional() {
        let with = |optional| Container { env: vec![from_map("X", "none", optional)].into(), ..Default::default() };
        assert_eq!(environment(with(None), false).await.unwrap_err(), "couldn't find key none in ConfigMap ns/settings");
        assert_eq!(get(&environment(with(Some(true)), false).await.unwrap(), "X"), None);
    }
}
