//! Takes addresses and ports for a Service before it is written, and gives back what is not needed after all.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::core::v1::Service;
use apimachinery::gvk::GroupKind;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::{List, Object};
use apiserver::request::RequestContext;
use apiserver::rest::{Finish, Hooks};
use async_trait::async_trait;

use super::ip_allocator::{IpAllocator, IpError};
use super::port_allocator::{PortAllocator, PortError};
use super::{ip_families, is_headless, needs_cluster_ip, needs_health_check_port, needs_node_port, updates};
use crate::Config;
use crate::validation::meta::string_list;

/// Allocation for Services.
#[derive(Clone)]
pub struct Allocation {
    ips: IpAllocator,
    ports: PortAllocator,
}

/// What one write took, and what it no longer needs once it is done.
#[derive(Default)]
struct Transaction {
    taken_ips: Vec<String>,
    taken_ports: Vec<i32>,
    freed_ips: Vec<String>,
    freed_ports: Vec<i32>,
}

impl Allocation {
    pub fn new(config: &Config) -> Self {
        let (store, prefix) = (config.store.clone(), config.store_prefix.as_str());
        Self {
            ips: IpAllocator::new(config.objects.clone(), store.clone(), prefix, config.service_ip_ranges.clone()),
            ports: PortAllocator::new(store, prefix, config.node_ports.clone()),
        }
    }

    /// Everything `service` needs. On an error what was taken already is given back.
    async fn take(&self, service: &mut Service, old: Option<&Service>, dry_run: bool) -> Result<Transaction, StatusError> {
        ip_families::fill_in(service, old, &self.ips.families()).map_err(|errors| invalid(service, errors))?;
        let mut transaction = Transaction::default();
        let taken = async {
            self.take_ips(service, old, dry_run, &mut transaction).await?;
            self.take_ports(service, old, dry_run, &mut transaction).await?;
            self.take_health_check_port(service, old, dry_run, &mut transaction).await
        };
        match taken.await {
            Ok(()) => Ok(transaction),
            Err(error) => {
                if !dry_run {
                    self.undo(transaction).await;
                }
                Err(error)
            }
        }
    }

    async fn take_ips(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        dry_run: bool,
        transaction: &mut Transaction,
    ) -> Result<(), StatusError> {
        let had: &[String] = match old {
            Some(old) if needs_cluster_ip(old) && !is_headless(old) => &old.spec.cluster_ips,
            _ => &[],
        };
        if !needs_cluster_ip(service) {
            transaction.freed_ips.extend(had.iter().cloned());
            return Ok(());
        }
        let had_some = old.is_some_and(|old| needs_cluster_ip(old) && !old.spec.cluster_ips.is_empty());
        let known = service.spec.ip_families.iter().all(|family| matches!(family.as_str(), "IPv4" | "IPv6"));
        if !known {
            // Validation's to refuse, as well.
            return Ok(());
        }
        if is_headless(service) || had_some && service.spec.cluster_ips.first() != old.and_then(|old| old.spec.cluster_ips.first()) {
            // A primary address that changes is validation's to refuse.
            return Ok(());
        }
        if had.len() > service.spec.ip_families.len() {
            transaction.freed_ips.extend(had[service.spec.ip_families.len()..].iter().cloned());
            service.spec.cluster_ips.as_vec_mut().truncate(service.spec.ip_families.len());
        }
        let families = service.spec.ip_families.clone();
        let mut ips: Vec<String> = service.spec.cluster_ips.to_vec();
        for (index, family) in families.iter().enumerate() {
            match ips.get(index).filter(|ip| !ip.is_empty()).cloned() {
                Some(ip) if had.contains(&ip) => {}
                Some(ip) => {
                    // What is no address is validation's to refuse.
                    let Some(address) = apimachinery::validation::net::parse_ip_sloppy(&ip) else { return Ok(()) };
                    self.take_ip(service, address, dry_run).await?;
                    transaction.taken_ips.push(address.to_string());
                }
                None => {
                    let address = self
                        .ips
                        .allocate_next(service, family, dry_run)
                        .await
                        .map_err(|error| StatusError::internal(format_args!("failed to allocate a serviceIP: {error}")))?;
                    transaction.taken_ips.push(address.to_string());
                    match ips.get_mut(index) {
                        Some(slot) => *slot = address.to_string(),
                        None => ips.push(address.to_string()),
                    }
                }
            }
        }
        if let Some(first) = ips.first()
            && (service.spec.cluster_ip.is_empty() || transaction.taken_ips.contains(first))
        {
            service.spec.cluster_ip.clone_from(first);
        }
        service.spec.cluster_ips = List::from(ips);
        Ok(())
    }

    async fn take_ip(&self, service: &Service, address: IpAddr, dry_run: bool) -> Result<(), StatusError> {
        self.ips.allocate(service, address, dry_run).await.map_err(|error| match error {
            IpError::Store(error) => error,
            error => {
                let spec = Path::new("spec");
                let detail = format!("failed to allocate IP {address}: {error}");
                invalid(service, vec![Error::invalid(&spec.child("clusterIPs"), string_list(&service.spec.cluster_ips), detail)])
            }
        })
    }

    async fn take_ports(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        dry_run: bool,
        transaction: &mut Transaction,
    ) -> Result<(), StatusError> {
        let had = old.map_or(Vec::new(), node_ports);
        if needs_node_port(service) || service.spec.type_ == "LoadBalancer" && !node_ports(service).is_empty() {
            let automatic = needs_node_port(service);
            let mut ours = had.clone();
            // One port under several protocols gets one node port.
            let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
            for index in 0..service.spec.ports.len() {
                let (port, wanted) = (service.spec.ports[index].port, service.spec.ports[index].node_port);
                if wanted != 0 {
                    if !ours.contains(&wanted) {
                        self.ports.allocate(wanted, dry_run).await.map_err(|error| port_error(service, index, wanted, error))?;
                        transaction.taken_ports.push(wanted);
                        ours.push(wanted);
                    }
                    by_port.entry(port).or_insert(wanted);
                    continue;
                }
                if !automatic {
                    continue;
                }
                let chosen = match by_port.get(&port) {
                    Some(chosen) => *chosen,
                    None => {
                        let chosen = self
                            .ports
                            .allocate_next(dry_run)
                            .await
                            .map_err(|error| StatusError::internal(format_args!("failed to allocate a nodePort: {error}")))?;
                        transaction.taken_ports.push(i32::from(chosen));
                        i32::from(chosen)
                    }
                };
                ours.push(chosen);
                by_port.insert(port, chosen);
                service.spec.ports[index].node_port = chosen;
            }
        }
        let keeps = if needs_node_port(service) || service.spec.type_ == "LoadBalancer" { node_ports(service) } else { Vec::new() };
        transaction.freed_ports.extend(had.into_iter().filter(|port| !keeps.contains(port)));
        Ok(())
    }

    async fn take_health_check_port(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        dry_run: bool,
        transaction: &mut Transaction,
    ) -> Result<(), StatusError> {
        let had = old.filter(|old| needs_health_check_port(old)).map_or(0, |old| old.spec.health_check_node_port);
        match (needs_health_check_port(service), service.spec.health_check_node_port) {
            (false, _) => {
                if had != 0 {
                    transaction.freed_ports.push(had);
                }
            }
            // A changed one is validation's to refuse.
            (true, _) if had != 0 => {}
            (true, 0) => {
                let chosen = self
                    .ports
                    .allocate_next(dry_run)
                    .await
                    .map_err(|error| StatusError::internal(format_args!("failed to allocate a HealthCheck NodePort : {error}")))?;
                transaction.taken_ports.push(i32::from(chosen));
                service.spec.health_check_node_port = i32::from(chosen);
            }
            (true, wanted) => {
                self.ports.allocate(wanted, dry_run).await.map_err(|error| {
                    StatusError::internal(format_args!("failed to allocate requested HealthCheck NodePort {wanted}: {error}"))
                })?;
                transaction.taken_ports.push(wanted);
            }
        }
        Ok(())
    }

    /// Gives back what a write took that did not come about.
    async fn undo(&self, transaction: Transaction) {
        self.release(&transaction.taken_ips, &transaction.taken_ports).await;
    }

    async fn release(&self, ips: &[String], ports: &[i32]) {
        for ip in ips {
            self.ips.release(ip).await;
        }
        for port in ports {
            self.ports.release(*port).await;
        }
    }

    fn finish(&self, transaction: Transaction, dry_run: bool) -> Finish {
        let allocation = self.clone();
        Box::new(move |done| {
            Box::pin(async move {
                match (dry_run, done) {
                    (true, _) => {}
                    (false, true) => allocation.release(&transaction.freed_ips, &transaction.freed_ports).await,
                    (false, false) => allocation.undo(transaction).await,
                }
            })
        })
    }
}

fn node_ports(service: &Service) -> Vec<i32> {
    if !matches!(service.spec.type_.as_str(), "NodePort" | "LoadBalancer") {
        return Vec::new();
    }
    let mut ports: Vec<i32> = service.spec.ports.iter().map(|port| port.node_port).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn port_error(service: &Service, index: usize, port: i32, error: PortError) -> StatusError {
    if let PortError::Store(error) = error {
        return error;
    }
    let spec = Path::new("spec");
    let ports = spec.child("ports");
    invalid(service, vec![Error::invalid(&ports.index(index).child("nodePort"), port, error.to_string())])
}

fn invalid(service: &Service, errors: ErrorList) -> StatusError {
    StatusError::invalid(&GroupKind::new("", "Service"), &service.metadata.name, &errors)
}

#[async_trait]
impl Hooks for Allocation {
    async fn begin_create(&self, context: &RequestContext, object: &mut dyn Object) -> Result<Finish, StatusError> {
        let service: &mut Service = object.downcast_mut().expect("these hooks are for Services");
        updates::align_cluster_ips(service, None);
        let transaction = self.take(service, None, context.dry_run).await?;
        Ok(self.finish(transaction, context.dry_run))
    }

    async fn begin_update(&self, context: &RequestContext, new: &mut dyn Object, old: &dyn Object) -> Result<Finish, StatusError> {
        let new: &mut Service = new.downcast_mut().expect("these hooks are for Services");
        let old: &Service = old.downcast_ref().expect("these hooks are for Services");
        updates::keep_allocated(new, old);
        updates::align_cluster_ips(new, Some(old));
        let transaction = self.take(new, Some(old), context.dry_run).await?;
        Ok(self.finish(transaction, context.dry_run))
    }

    async fn after_delete(&self, context: &RequestContext, object: &dyn Object) {
        let service: &Service = object.downcast_ref().expect("these hooks are for Services");
        if context.dry_run {
            return;
        }
        let ips: &[String] = if is_headless(service) { &[] } else { &service.spec.cluster_ips };
        let mut ports = node_ports(service);
        ports.extend(Some(service.spec.health_check_node_port).filter(|port| *port != 0));
        self.release(ips, &ports).await;
    }
}
