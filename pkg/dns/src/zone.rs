//! The cluster's zone: what Services and their endpoints are called, and answers to questions about that.
//!
//! Pure and in memory; the API's objects come in as the small records below. The names are those of the Kubernetes DNS
//! specification 1.1.0, plus what CoreDNS adds and clients rely on:
//!
//! ```text
//! SERVICE.NAMESPACE.svc.DOMAIN                    A, AAAA, SRV; CNAME for an ExternalName
//! _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN    SRV
//! HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN           A, AAAA of one endpoint (1-2-3-4 if it has no hostname)
//! 1-2-3-4.NAMESPACE.pod.DOMAIN                    A
//! 4.3.2.1.in-addr.arpa                            PTR of a Service or an endpoint
//! ns.dns.DOMAIN, dns-version.DOMAIN               the server itself
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::rr::rdata::{self, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Version of the specification that `dns-version` answers with.
const SPECIFICATION: &str = "1.1.0";

/// The Service whose addresses `ns.dns.DOMAIN` stands for.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// Seconds for secondary servers, of which there are none; the values are those of CoreDNS.
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86400;

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    ClusterIps(Vec<IpAddr>),
    /// The endpoints' addresses.
    Headless,
    /// An alias of a name elsewhere.
    External(String),
}

/// A port as SRV records have it. Protocols are in lower case.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub name: String,
    pub protocol: &'static str,
    pub number: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRecord {
    pub target: Target,
    pub ports: Vec<Port>,
}

/// A ready endpoint: those that are not ready have no name.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRecord {
    pub addresses: Vec<IpAddr>,
    pub hostname: Option<String>,
}

/// One EndpointSlice.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SliceRecord {
    pub endpoints: Vec<EndpointRecord>,
    pub ports: Vec<Port>,
}

/// Whether `1-2-3-4.NAMESPACE.pod` is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PodRecords {
    Disabled,
    /// For any address, whether or not a pod has it.
    Insecure,
}

/// What the zone has to say to a question.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    /// The name is not in the zone: somebody else may know it.
    NotOurs,
    Found {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// The name stands for another one. `answer` is the CNAME record; the target is still to be looked up.
    Alias {
        answer: Record,
        target: Name,
    },
    /// The name exists, but not with records of this type.
    NoData,
    NoName,
}

/// A Service and its endpoints, either of which may come first.
#[derive(Debug, Default)]
struct Entry {
    service: Option<ServiceRecord>,
    /// By name of the slice.
    slices: BTreeMap<String, SliceRecord>,
}

/// Who has an address: namespace, service, and the endpoint's label if it is one.
type Owner = (String, String, Option<String>);

/// The zone. Readers look up, one writer applies the API server's events.
#[derive(Debug)]
pub struct Zone {
    domain: Name,
    /// The labels of the domain, in lower case, leftmost first.
    domain_labels: Vec<String>,
    ttl: u32,
    pods: PodRecords,
    serial: u32,
    namespaces: HashSet<String>,
    services: HashMap<String, HashMap<String, Entry>>,
    owners: HashMap<IpAddr, BTreeSet<Owner>>,
}

/// The settings of a zone.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// Ends with a dot.
    pub domain: Name,
    pub ttl: u32,
    pub pods: PodRecords,
    /// The first serial number; each change adds one.
    pub serial: u32,
}

impl Zone {
    pub fn new(config: ZoneConfig) -> Self {
        Self {
            domain_labels: labels(&config.domain),
            domain: config.domain,
            ttl: config.ttl,
            pods: config.pods,
            serial: config.serial,
            namespaces: HashSet::new(),
            services: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// The namespace exists, or no longer.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// What the Service is now; `None` once it is gone.
    pub fn set_service(&mut self, namespace: &str, name: &str, record: Option<ServiceRecord>) {
        self.change(namespace, name, |entry| entry.service = record);
    }

    /// What one slice of the Service's endpoints is now; `None` once it is gone.
    pub fn set_slice(&mut self, namespace: &str, service: &str, slice: &str, record: Option<SliceRecord>) {
        self.change(namespace, service, |entry| match record {
            Some(record) => drop(entry.slices.insert(slice.to_owned(), record)),
            None => drop(entry.slices.remove(slice)),
        });
    }

    fn change(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Entry)) {
        let entry = self.services.entry(namespace.to_owned()).or_default().entry(name.to_owned()).or_default();
        let before = entry.addresses();
        change(entry);
        let after = entry.addresses();
        if entry.service.is_none() && entry.slices.is_empty() {
            let in_namespace = self.services.get_mut(namespace).expect("it was made above");
            in_namespace.remove(name);
            if in_namespace.is_empty() {
                self.services.remove(namespace);
            }
        }
        for (address, label) in before.difference(&after) {
            if let Some(owners) = self.owners.get_mut(address) {
                owners.remove(&(namespace.to_owned(), name.to_owned(), label.clone()));
                if owners.is_empty() {
                    self.owners.remove(address);
                }
            }
        }
        for (address, label) in after.difference(&before) {
            let owner = (namespace.to_owned(), name.to_owned(), label.clone());
            self.owners.entry(*address).or_default().insert(owner);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Answers a question. Case does not matter; records carry `name` as it was asked.
    pub fn lookup(&self, name: &Name, record_type: RecordType) -> Lookup {
        let asked = labels(name);
        let Some(inner) = asked.strip_suffix(&self.domain_labels[..]) else {
            return self.lookup_reverse(name, record_type);
        };
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        let question = Question { zone: self, name, record_type };
        match inner[..] {
            [] => question.apex(),
            ["dns-version"] => question.one(RecordType::TXT, || RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()]))),
            ["dns"] | ["svc"] => Lookup::NoData,
            ["pod"] if self.pods != PodRecords::Disabled => Lookup::NoData,
            ["ns", "dns"] => question.addresses(self.server_addresses()),
            [namespace, "svc"] => self.bare_namespace(namespace),
            [namespace, "pod"] if self.pods != PodRecords::Disabled => self.bare_namespace(namespace),
            [address, namespace, "pod"] if self.pods != PodRecords::Disabled => question.pod(address, namespace),
            [ref path @ .., service, namespace, "svc"] => match self.entry(namespace, service) {
                Some((entry, service)) => question.service(entry, service, path),
                None => Lookup::NoName,
            },
            _ => Lookup::NoName,
        }
    }

    /// The record that says for how long "no such name" holds.
    pub fn start_of_authority(&self) -> Record {
        let soa = SOA::new(self.server_name(), self.child(["hostmaster"]), self.serial, REFRESH, RETRY, EXPIRE, self.ttl);
        Record::from_rdata(self.domain.clone(), self.ttl, RData::SOA(soa))
    }

    fn lookup_reverse(&self, name: &Name, record_type: RecordType) -> Lookup {
        let address = match name.parse_arpa_name() {
            Ok(network) if network.prefix_len() == network.max_prefix_len() => network.addr(),
            _ => return Lookup::NotOurs,
        };
        let Some(owners) = self.owners.get(&address) else {
            return Lookup::NotOurs;
        };
        if !matches!(record_type, RecordType::PTR | RecordType::ANY) {
            return Lookup::NoData;
        }
        let pointers = owners.iter().map(|(namespace, service, label)| {
            let target = match label {
                Some(label) => self.child([label, service, namespace, "svc"]),
                None => self.child([service, namespace, "svc"]),
            };
            Record::from_rdata(name.clone(), self.ttl, RData::PTR(PTR(target)))
        });
        Lookup::Found { answers: pointers.collect(), additionals: Vec::new() }
    }

    fn bare_namespace(&self, namespace: &str) -> Lookup {
        if self.namespaces.contains(namespace) { Lookup::NoData } else { Lookup::NoName }
    }

    fn entry(&self, namespace: &str, service: &str) -> Option<(&Entry, &ServiceRecord)> {
        let entry = self.services.get(namespace)?.get(service)?;
        Some((entry, entry.service.as_ref()?))
    }

    fn server_name(&self) -> Name {
        self.child(["ns", "dns"])
    }

    fn server_addresses(&self) -> Vec<IpAddr> {
        match self.entry(DNS_SERVICE.0, DNS_SERVICE.1) {
            Some((_, ServiceRecord { target: Target::ClusterIps(addresses), .. })) => addresses.clone(),
            Some((entry, _)) => entry.endpoint_addresses(),
            None => Vec::new(),
        }
    }

    /// A name under the domain.
    fn child<const N: usize>(&self, labels: [&str; N]) -> Name {
        // The API admits only DNS labels; what is no label after all (it would be a bug there) names nothing.
        Name::from_labels(labels.iter().map(|label| label.as_bytes()))
            .and_then(|name: Name| name.append_domain(&self.domain))
            .unwrap_or_else(|_| self.domain.clone())
    }
}

impl Entry {
    /// Addresses that point back here. Endpoints of a Service with a cluster IP have no names of their own to point to.
    fn addresses(&self) -> BTreeSet<(IpAddr, Option<String>)> {
        match self.service.as_ref().map(|service| &service.target) {
            Some(Target::ClusterIps(addresses)) => addresses.iter().map(|address| (*address, None)).collect(),
            Some(Target::Headless) => self
                .endpoints()
                .flat_map(|endpoint| endpoint.addresses.iter().map(|address| (*address, Some(endpoint.label(*address)))))
                .collect(),
            Some(Target::External(_)) | None => BTreeSet::new(),
        }
    }

    fn endpoints(&self) -> impl Iterator<Item = &EndpointRecord> {
        self.slices.values().flat_map(|slice| &slice.endpoints)
    }

    fn endpoint_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.endpoints().flat_map(|endpoint| endpoint.addresses.iter().copied()).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

impl EndpointRecord {
    /// The label by which the endpoint is known under its Service.
    fn label(&self, address: IpAddr) -> String {
        match &self.hostname {
            Some(hostname) => hostname.to_ascii_lowercase(),
            None => address.to_string().replace(['.', ':'], "-"),
        }
    }
}

/// One question inside the zone.
struct Question<'a> {
    zone: &'a Zone,
    name: &'a Name,
    record_type: RecordType,
}

impl Question<'_> {
    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), self.zone.ttl, data)
    }

    fn asks_for(&self, record_type: RecordType) -> bool {
        self.record_type == record_type || self.record_type == RecordType::ANY
    }

    fn one(&self, record_type: RecordType, data: impl FnOnce() -> RData) -> Lookup {
        if !self.asks_for(record_type) {
            return Lookup::NoData;
        }
        Lookup::Found { answers: vec![self.record(data())], additionals: Vec::new() }
    }

    fn apex(&self) -> Lookup {
        match self.record_type {
            RecordType::SOA => Lookup::Found { answers: vec![self.zone.start_of_authority()], additionals: Vec::new() },
            RecordType::NS => {
                let server = self.zone.server_name();
                let additionals = self.glue(&server, &self.zone.server_addresses());
                Lookup::Found { answers: vec![self.record(RData::NS(NS(server)))], additionals }
            }
            _ => Lookup::NoData,
        }
    }

    /// The addresses of the family that was asked for.
    fn addresses(&self, addresses: Vec<IpAddr>) -> Lookup {
        let of_type = |address: &IpAddr| match address {
            IpAddr::V4(_) => self.asks_for(RecordType::A),
            IpAddr::V6(_) => self.asks_for(RecordType::AAAA),
        };
        let answers: Vec<Record> = addresses.into_iter().filter(of_type).map(|address| self.record(address_data(address))).collect();
        if answers.is_empty() { Lookup::NoData } else { Lookup::Found { answers, additionals: Vec::new() } }
    }

    fn glue(&self, name: &Name, addresses: &[IpAddr]) -> Vec<Record> {
        addresses.iter().map(|address| Record::from_rdata(name.clone(), self.zone.ttl, address_data(*address))).collect()
    }

    fn pod(&self, label: &str, namespace: &str) -> Lookup {
        if !self.zone.namespaces.contains(namespace) {
            return Lookup::NoName;
        }
        let address = IpAddr::from_str(&label.replace('-', ".")).or_else(|_| label.replace('-', ":").parse());
        match address {
            Ok(address) => self.addresses(vec![address]),
            Err(_) => Lookup::NoName,
        }
    }

    /// `path` is what stands before the Service's name.
    fn service(&self, entry: &Entry, service: &ServiceRecord, path: &[&str]) -> Lookup {
        match (&service.target, path) {
            (Target::External(target), []) => self.alias(target),
            (Target::External(_), _) => Lookup::NoName,
            (_, []) if self.record_type == RecordType::SRV => self.ports(entry, service, None),
            (Target::ClusterIps(addresses), []) => self.addresses(addresses.clone()),
            (Target::Headless, []) => self.addresses(entry.endpoint_addresses()),
            (_, [port, protocol]) if port.starts_with('_') && protocol.starts_with('_') => {
                self.ports(entry, service, Some((&port[1..], &protocol[1..])))
            }
            (_, [label]) => match label.strip_prefix('_') {
                Some(protocol) => self.protocol(entry, service, protocol),
                None => self.endpoint(entry, label),
            },
            _ => Lookup::NoName,
        }
    }

    fn alias(&self, target: &str) -> Lookup {
        let Ok(target) = Name::from_ascii(target) else {
            return Lookup::NoData;
        };
        let mut target = target;
        target.set_fqdn(true);
        let answer = self.record(RData::CNAME(CNAME(target.clone())));
        if self.record_type == RecordType::CNAME {
            return Lookup::Found { answers: vec![answer], additionals: Vec::new() };
        }
        Lookup::Alias { answer, target }
    }

    fn endpoint(&self, entry: &Entry, label: &str) -> Lookup {
        let mut addresses: Vec<IpAddr> = entry
            .endpoints()
            .flat_map(|endpoint| endpoint.addresses.iter().map(move |address| (endpoint, *address)))
            .filter(|(endpoint, address)| endpoint.label(*address) == label)
            .map(|(_, address)| address)
            .collect();
        addresses.sort();
        addresses.dedup();
        if addresses.is_empty() { Lookup::NoName } else { self.addresses(addresses) }
    }

    /// `_tcp.SERVICE` has no records but exists if there are names below.
    fn protocol(&self, entry: &Entry, service: &ServiceRecord, protocol: &str) -> Lookup {
        let slices = entry.slices.values().flat_map(|slice| &slice.ports);
        let ports = service.ports.iter().chain(slices);
        let exists = ports.into_iter().any(|port| port.protocol == protocol && !port.name.is_empty());
        if exists { Lookup::NoData } else { Lookup::NoName }
    }

    /// SRV records of the port and protocol, or of all ports.
    fn ports(&self, entry: &Entry, service: &ServiceRecord, wanted: Option<(&str, &str)>) -> Lookup {
        let fits = |port: &&Port| wanted.is_none_or(|(name, protocol)| port.name == name && port.protocol == protocol && !name.is_empty());
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        match &service.target {
            Target::ClusterIps(addresses) => {
                // The Service's own name is what remains without the port's two labels.
                let target = match wanted {
                    Some(_) => self.name.trim_to(usize::from(self.name.num_labels()) - 2),
                    None => self.name.clone(),
                };
                for port in service.ports.iter().filter(fits) {
                    answers.push(self.record(RData::SRV(SRV::new(0, 100, port.number, target.clone()))));
                }
                if !answers.is_empty() {
                    additionals = self.glue(&target, addresses);
                }
            }
            Target::Headless => {
                let parent = match wanted {
                    Some(_) => self.name.trim_to(usize::from(self.name.num_labels()) - 2),
                    None => self.name.clone(),
                };
                let mut seen = BTreeSet::new();
                for slice in entry.slices.values() {
                    for endpoint in &slice.endpoints {
                        for address in &endpoint.addresses {
                            let label = endpoint.label(*address);
                            let Ok(target) = parent.prepend_label(label.as_bytes()) else { continue };
                            for port in slice.ports.iter().filter(fits) {
                                if seen.insert((label.clone(), port.number)) {
                                    answers.push(self.record(RData::SRV(SRV::new(0, 100, port.number, target.clone()))));
                                }
                            }
                            additionals.extend(self.glue(&target, &[*address]));
                        }
                    }
                }
            }
            Target::External(_) => {}
        }
        match (answers.is_empty(), wanted) {
            (true, Some((name, protocol))) => {
                let exists = service.ports.iter().any(|port| port.name == name && port.protocol == protocol);
                if exists { Lookup::NoData } else { Lookup::NoName }
            }
            (true, None) => Lookup::NoData,
            (false, _) if !self.asks_for(RecordType::SRV) => Lookup::NoData,
            (false, _) => Lookup::Found { answers, additionals },
        }
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(rdata::A(address)),
        IpAddr::V6(address) => RData::AAAA(rdata::AAAA(address)),
    }
}

fn labels(name: &Name) -> Vec<String> {
    name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
