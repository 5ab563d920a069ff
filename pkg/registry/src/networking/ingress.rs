//! Ingresses and IngressClasses.

use api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressClass};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::{age, or_none};
use crate::validation::{immutable, object_meta, object_meta_update};

/// Rules of Ingresses.
#[derive(Clone, Copy, Debug)]
pub struct IngressStrategy;

fn backend(backend: &IngressBackend, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => return vec![Error::invalid(path, "", "cannot set both resource and service backends")],
        (Some(resource), None) => {
            let at = path.child("resource");
            if resource.kind.is_empty() {
                errors.push(Error::required(&at.child("kind"), "kind is required"));
            }
            if resource.name.is_empty() {
                errors.push(Error::required(&at.child("name"), "name is required"));
            }
        }
        (None, Some(service)) => {
            let at = path.child("service");
            let name = at.child("name");
            if service.name.is_empty() {
                errors.push(Error::required(&name, ""));
            } else {
                errors.extend(
                    names::is_dns1035_label(&service.name).into_iter().map(|message| Error::invalid(&name, &service.name, message)),
                );
            }
            let port = at.child("port");
            match (service.port.name.as_str(), service.port.number) {
                ("", 0) => errors.push(Error::required(&at, "port name or number is required")),
                (name, number) if !name.is_empty() && number != 0 => {
                    errors.push(Error::invalid(&at, BadValue::OMITTED, "cannot set both port name & port number"));
                }
                ("", number) => {
                    let at = port.child("number");
                    errors.extend(names::is_port_number(number.into()).into_iter().map(|message| Error::invalid(&at, number, message)));
                }
                (name, _) => {
                    let at = port.child("name");
                    errors.extend(names::is_port_name(name).into_iter().map(|message| Error::invalid(&at, name, message)));
                }
            }
        }
        (None, None) => {}
    }
    errors
}

fn http_path(item: &HTTPIngressPath, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = path.child("path");
    match item.path_type.as_deref() {
        None => return vec![Error::required(&path.child("pathType"), "pathType must be specified")],
        Some("Exact" | "Prefix") => {
            if !item.path.starts_with('/') {
                errors.push(Error::invalid(&at, &item.path, "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if item.path.contains(bad) {
                    errors.push(Error::invalid(&at, &item.path, format!("must not contain '{bad}'")));
                }
            }
            for bad in ["/..", "/."] {
                if item.path.ends_with(bad) {
                    errors.push(Error::invalid(&at, &item.path, format!("cannot end with '{bad}'")));
                }
            }
        }
        Some("ImplementationSpecific") => {
            if !item.path.is_empty() && !item.path.starts_with('/') {
                errors.push(Error::invalid(&at, &item.path, "must be an absolute path"));
            }
        }
        Some(other) => {
            errors.push(Error::not_supported(&path.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]));
        }
    }
    errors.extend(backend(&item.backend, &path.child("backend")));
    errors
}

fn host(host: &str, path: &Path<'_>) -> ErrorList {
    if host.is_empty() {
        return ErrorList::new();
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return vec![Error::invalid(path, host, "must be a DNS name, not an IP address")];
    }
    let messages = if host.contains('*') { names::is_wildcard_dns1123_subdomain(host) } else { names::is_dns1123_subdomain(host) };
    messages.into_iter().map(|message| Error::invalid(path, host, message)).collect()
}

fn spec(ingress: &Ingress) -> ErrorList {
    let path = Path::new("spec");
    let spec = &ingress.spec;
    let mut errors = ErrorList::new();
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        let shown = String::from_utf8_lossy(&apimachinery::json::part_to_vec(spec)).into_owned();
        errors.push(Error::invalid(&path, BadValue::json(shown), "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(default) = &spec.default_backend {
        errors.extend(backend(default, &path.child("defaultBackend")));
    }
    let tls = path.child("tls");
    for (index, item) in spec.tls.iter().enumerate() {
        let at = tls.index(index);
        let hosts = at.child("hosts");
        item.hosts.iter().enumerate().for_each(|(index, name)| errors.extend(host(name, &hosts.index(index))));
        if !item.secret_name.is_empty() {
            let at = at.child("secretName");
            errors.extend(
                names::name_is_dns_subdomain(&item.secret_name, false)
                    .into_iter()
                    .map(|message| Error::invalid(&at, &item.secret_name, message)),
            );
        }
    }
    let rules = path.child("rules");
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = rules.index(index);
        errors.extend(host(&rule.host, &at.child("host")));
        if let Some(http) = &rule.ingress_rule_value.http {
            let at = at.child("http");
            let paths = at.child("paths");
            if http.paths.is_empty() {
                errors.push(Error::required(&paths, ""));
            }
            http.paths.iter().enumerate().for_each(|(index, item)| errors.extend(http_path(item, &paths.index(index))));
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        let at = path.child("ingressClassName");
        errors.extend(names::name_is_dns_subdomain(class, false).into_iter().map(|message| Error::invalid(&at, class, message)));
    }
    errors
}

impl Strategy for IngressStrategy {
    type Object = Ingress;

    fn prepare_for_create(&self, _: &RequestContext, ingress: &mut Ingress) {
        ingress.status = Default::default();
        ingress.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, ingress: &Ingress) -> ErrorList {
        let mut errors = object_meta(&ingress.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(ingress));
        let old_way = ingress.metadata.annotations.get("kubernetes.io/ingress.class");
        if let (Some(class), Some(_)) = (old_way, &ingress.spec.ingress_class_name) {
            let metadata = Path::new("annotations");
            errors.push(Error::invalid(
                &metadata.child("kubernetes.io/ingress.class"),
                class,
                "can not be set when the class field is also set",
            ));
        }
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Ingress, old: &Ingress) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Ingress, old: &Ingress) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, ingress: &Ingress, now: Time) -> Option<Vec<Value>> {
        let mut hosts: Vec<&str> = ingress.spec.rules.iter().map(|rule| rule.host.as_str()).filter(|host| !host.is_empty()).collect();
        let more = hosts.len().saturating_sub(3);
        hosts.truncate(3);
        let hosts = match (hosts.is_empty(), more) {
            (true, _) => "*".to_owned(),
            (false, 0) => hosts.join(","),
            (false, more) => format!("{} + {more} more...", hosts.join(",")),
        };
        let addresses: Vec<&str> = ingress
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|point| if point.ip.is_empty() { point.hostname.as_str() } else { point.ip.as_str() })
            .collect();
        let ports = if ingress.spec.tls.is_empty() { "80" } else { "80, 443" };
        Some(vec![
            ingress.metadata.name.clone().into(),
            or_none(ingress.spec.ingress_class_name.clone().unwrap_or_default()).into(),
            hosts.into(),
            addresses.join(",").into(),
            ports.into(),
            age(ingress.metadata.creation_timestamp, now),
        ])
    }
}

/// Rules of an Ingress' `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Ingress;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Ingress, old: &Ingress) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &Ingress, old: &Ingress) -> ErrorList {
        object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, ingress: &Ingress, now: Time) -> Option<Vec<Value>> {
        IngressStrategy.table_cells(ingress, now)
    }
}

/// Rules of IngressClasses.
#[derive(Clone, Copy, Debug)]
pub struct IngressClassStrategy;

impl Strategy for IngressClassStrategy {
    type Object = IngressClass;

    fn default_object(&self, class: &mut IngressClass) {
        crate::defaults::generated::networking_v1_ingress_class(class);
    }

    fn prepare_for_create(&self, _: &RequestContext, class: &mut IngressClass) {
        class.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, class: &IngressClass) -> ErrorList {
        let mut errors = object_meta(&class.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        let path = Path::new("spec");
        let controller = path.child("controller");
        if class.spec.controller.len() > 250 {
            errors.push(Error::too_long(&controller, 250));
        }
        errors.extend(
            names::is_domain_prefixed_path(&class.spec.controller)
                .into_iter()
                .map(|message| Error::invalid(&controller, &class.spec.controller, message)),
        );
        if let Some(parameters) = &class.spec.parameters {
            let at = path.child("parameters");
            for (name, value) in [("kind", &parameters.kind), ("name", &parameters.name)] {
                if value.is_empty() {
                    errors.push(Error::required(&at.child(name), ""));
                }
            }
            match parameters.scope.as_deref() {
                None => errors.push(Error::required(&at.child("scope"), "")),
                Some("Cluster") if parameters.namespace.is_some() => {
                    errors.push(Error::forbidden(&at.child("namespace"), "parameters.scope is set to 'Cluster'"));
                }
                Some("Namespace") if parameters.namespace.as_deref().is_none_or(str::is_empty) => {
                    errors.push(Error::required(&at.child("namespace"), "parameters.scope is set to 'Namespace'"));
                }
                Some("Cluster" | "Namespace") => {}
                Some(other) => errors.push(Error::not_supported(&at.child("scope"), other, &["Cluster", "Namespace"])),
            }
        }
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut IngressClass, old: &IngressClass) {
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, context: &RequestContext, new: &IngressClass, old: &IngressClass) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("spec");
        errors.extend(immutable(&new.spec.controller, &old.spec.controller, &path.child("controller"), &new.spec.controller));
        errors.extend(self.validate(context, new));
        errors
    }

    fn table_cells(&self, class: &IngressClass, now: Time) -> Option<Vec<Value>> {
        let parameters = class.spec.parameters.as_ref().map(|parameters| {
            let group = parameters.api_group.as_deref().unwrap_or("");
            if group.is_empty() {
                format!("{}/{}", parameters.kind, parameters.name)
            } else {
                format!("{}.{group}/{}", parameters.kind, parameters.name)
            }
        });
        Some(vec![
            class.metadata.name.clone().into(),
            class.spec.controller.clone().into(),
            or_none(parameters.unwrap_or_default()).into(),
            age(class.metadata.creation_timestamp, now),
        ])
    }
}
