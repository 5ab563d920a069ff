//! Service `kubernetes` in `default`, with the endpoints of every API server: how pods reach the API.
//! Upstream: pkg/controlplane/controller/kubernetesservice, pkg/controlplane/reconcilers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service, ServicePort};
use api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice};
use apimachinery::status::StatusError;
use apimachinery::{IntOrString, Object};
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;
use tokio_util::sync::CancellationToken;

use super::ensure;
use crate::Config;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
/// How often service and endpoints are looked after. Upstream's number.
const PERIOD: Duration = Duration::from_secs(10);

pub(super) async fn keep(server: Arc<Server>, config: Config, stop: CancellationToken) -> Result<(), BoxError> {
    // The server is of use without it: the loop goes on trying.
    if let Err(error) = reconcile(&server, &config).await {
        tracing::warn!(err = %error, "Cannot make the kubernetes service; trying again");
    }
    tokio::spawn(async move {
        // Both arms are cancel-safe.
        while tokio::select! { () = stop.cancelled() => false, () = tokio::time::sleep(PERIOD) => true } {
            if let Err(error) = reconcile(&server, &config).await {
                tracing::warn!(err = %error, "Cannot keep the kubernetes service up to date");
            }
        }
    });
    Ok(())
}

async fn reconcile(server: &Server, config: &Config) -> Result<(), StatusError> {
    let objects: &dyn Objects = server.objects().as_ref();
    let port = i32::from(config.address.port());
    if objects.get("", "services", NAMESPACE, NAME).await?.is_none() {
        ensure(objects, Box::new(service(config, port))).await?;
    }
    let address = config.advertise_address;
    if address.is_loopback() {
        // Pods cannot reach it, and no endpoint may have it.
        tracing::debug!("The advertised address is a loopback address: the kubernetes service has no endpoints");
        return Ok(());
    }
    if objects.get("", "endpoints", NAMESPACE, NAME).await?.is_none() {
        ensure(objects, Box::new(endpoints(address, port))).await?;
    } else {
        objects.update("", "endpoints", NAMESPACE, NAME, &|current| Ok(completed_endpoints(current, address, port))).await?;
    }
    if objects.get("discovery.k8s.io", "endpointslices", NAMESPACE, NAME).await?.is_none() {
        ensure(objects, Box::new(slice(address, port))).await?;
    } else {
        objects
            .update("discovery.k8s.io", "endpointslices", NAMESPACE, NAME, &|current| Ok(completed_slice(current, address, port)))
            .await?;
    }
    Ok(())
}

/// The first address of the first service range.
fn service_address(config: &Config) -> Option<IpAddr> {
    let (network, length) = apimachinery::validation::net::parse_cidr_sloppy(config.service_cidrs.first()?)?;
    Some(match network {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(((u32::from(address) & mask) + 1).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(((u128::from(address) & mask) + 1).into())
        }
    })
}

fn service(config: &Config, port: i32) -> Service {
    let mut service = Service::default();
    NAME.clone_into(&mut service.metadata.name);
    NAMESPACE.clone_into(&mut service.metadata.namespace);
    service.metadata.labels = [("component", "apiserver".to_owned()), ("provider", "kubernetes".to_owned())].into();
    "ClusterIP".clone_into(&mut service.spec.type_);
    "None".clone_into(&mut service.spec.session_affinity);
    if let Some(address) = service_address(config) {
        service.spec.cluster_ip = address.to_string();
        service.spec.cluster_ips = vec![address.to_string()].into();
    }
    service.spec.ports = vec![ServicePort {
        name: "https".to_owned(),
        protocol: "TCP".to_owned(),
        port: 443,
        target_port: IntOrString::Int(port),
        ..ServicePort::default()
    }]
    .into();
    service
}

fn endpoints(address: IpAddr, port: i32) -> Endpoints {
    let mut endpoints = Endpoints::default();
    NAME.clone_into(&mut endpoints.metadata.name);
    NAMESPACE.clone_into(&mut endpoints.metadata.namespace);
    // The slice beside it is made here too, not mirrored.
    endpoints.metadata.labels.insert("endpointslice.kubernetes.io/skip-mirror", "true".to_owned());
    endpoints.subsets = vec![subset(vec![address.to_string()], port)].into();
    endpoints
}

fn subset(addresses: Vec<String>, port: i32) -> EndpointSubset {
    EndpointSubset {
        addresses: addresses.into_iter().map(|ip| EndpointAddress { ip, ..EndpointAddress::default() }).collect(),
        ports: vec![EndpointPort { name: "https".to_owned(), port, protocol: "TCP".to_owned(), ..EndpointPort::default() }].into(),
        ..EndpointSubset::default()
    }
}

/// With one API server on the embedded store the endpoints are its own; addresses of others that share an etcd stay.
fn completed_endpoints(current: &dyn Object, address: IpAddr, port: i32) -> Option<Box<dyn Object>> {
    let mut endpoints = current.downcast_ref::<Endpoints>()?.clone();
    let own = address.to_string();
    let found = endpoints
        .subsets
        .iter()
        .any(|subset| subset.addresses.iter().any(|address| address.ip == own) && subset.ports.iter().any(|found| found.port == port));
    if found {
        return None;
    }
    endpoints.subsets = vec![subset(vec![own], port)].into();
    Some(Box::new(endpoints))
}

fn slice(address: IpAddr, port: i32) -> EndpointSlice {
    let mut slice = EndpointSlice::default();
    NAME.clone_into(&mut slice.metadata.name);
    NAMESPACE.clone_into(&mut slice.metadata.namespace);
    slice.metadata.labels.insert("kubernetes.io/service-name", NAME.to_owned());
    if address.is_ipv4() { "IPv4" } else { "IPv6" }.clone_into(&mut slice.address_type);
    slice.endpoints = vec![Endpoint {
        addresses: vec![address.to_string()].into(),
        conditions: EndpointConditions { ready: Some(true), ..EndpointConditions::default() },
        ..Endpoint::default()
    }]
    .into();
    slice.ports =
        vec![SlicePort { name: Some("https".to_owned()), port: Some(port), protocol: Some("TCP".to_owned()), ..SlicePort::default() }]
            .into();
    slice
}

fn completed_slice(current: &dyn Object, address: IpAddr, port: i32) -> Option<Box<dyn Object>> {
    let mut found = current.downcast_ref::<EndpointSlice>()?.clone();
    let own = address.to_string();
    let there = found.endpoints.iter().any(|endpoint| endpoint.addresses.contains(&own))
        && found.ports.iter().any(|found| found.port == Some(port));
    if there {
        return None;
    }
    let fresh = slice(address, port);
    found.endpoints = fresh.endpoints;
    found.ports = fresh.ports;
    Some(Box::new(found))
}
