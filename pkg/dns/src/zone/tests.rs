//! Questions and answers over one small cluster.

use expect_test::{Expect, expect};

use super::*;

fn port(name: &str, protocol: &'static str, number: u16) -> Port {
    Port { name: name.to_owned(), protocol, number }
}

fn endpoint(hostname: Option<&str>, addresses: &[&str]) -> EndpointRecord {
    EndpointRecord { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(), hostname: hostname.map(str::to_owned) }
}

fn zone() -> Zone {
    let mut zone =
        Zone::new(ZoneConfig { domain: Name::from_ascii("cluster.local.").unwrap(), ttl: 5, pods: PodRecords::Insecure, serial: 1 });
    for namespace in ["default", "kube-system", "empty"] {
        zone.set_namespace(namespace, true);
    }
    let cluster_ips = |addresses: &[&str]| Target::ClusterIps(addresses.iter().map(|address| address.parse().unwrap()).collect());
    let kubernetes = ServiceRecord { target: cluster_ips(&["10.96.0.1"]), ports: vec![port("https", "tcp", 443)] };
    zone.set_service("default", "kubernetes", Some(kubernetes));
    let dns = ServiceRecord {
        target: cluster_ips(&["10.96.0.10", "fd00:96::a"]),
        ports: vec![port("dns", "udp", 53), port("dns-tcp", "tcp", 53)],
    };
    zone.set_service("kube-system", "kube-dns", Some(dns));
    zone.set_service("default", "db", Some(ServiceRecord { target: Target::Headless, ports: vec![port("sql", "tcp", 5432)] }));
    let slice = SliceRecord {
        endpoints: vec![endpoint(Some("db-0"), &["10.244.0.5"]), endpoint(None, &["10.244.0.6"])],
        ports: vec![port("sql", "tcp", 15432)],
    };
    zone.set_slice("default", "db", "db-abc", Some(slice));
    let slice = SliceRecord { endpoints: vec![endpoint(Some("db-0"), &["fd00:244::5"])], ports: vec![port("sql", "tcp", 15432)] };
    zone.set_slice("default", "db", "db-v6", Some(slice));
    zone.set_service("default", "idle", Some(ServiceRecord { target: Target::Headless, ports: vec![port("p", "udp", 9)] }));
    let external = ServiceRecord { target: Target::External("www.example.com".to_owned()), ports: Vec::new() };
    zone.set_service("default", "away", Some(external));
    zone
}

/// `question` reads like "A kubernetes.default.svc.cluster.local".
fn ask(zone: &Zone, question: &str) -> String {
    let (record_type, name) = question.split_once(' ').unwrap();
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    match zone.lookup(&name, RecordType::from_str(record_type).unwrap()) {
        Lookup::NotOurs => "not ours".to_owned(),
        Lookup::NoData => "no data".to_owned(),
        Lookup::NoName => "no name".to_owned(),
        Lookup::Alias { answer, .. } => format!("alias {}", answer.data),
        Lookup::Found { answers, additionals } => {
            let render = |records: &[Record]| {
                let texts: Vec<String> = records.iter().map(|record| format!("{} {}", record.record_type(), record.data)).collect();
                texts.join(", ")
            };
            let glue: Vec<String> = additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
            let glue = if glue.is_empty() { String::new() } else { format!(" + {}", glue.join(", ")) };
            render(&answers) + &glue
        }
    }
}

#[track_caller]
fn check(questions: &[&str], expected: Expect) {
    let zone = zone();
    let lines: String = questions.iter().map(|question| format!("{question}: {}\n", ask(&zone, question))).collect();
    expected.assert_eq(&lines);
}

#[test]
fn services_with_a_cluster_ip() {
    check(
        &[
            "A kubernetes.default.svc.cluster.local",
            "A KUBERNETES.Default.SVC.cluster.local",
            "AAAA kubernetes.default.svc.cluster.local",
            "AAAA kube-dns.kube-system.svc.cluster.local",
            "SRV kubernetes.default.svc.cluster.local",
            "SRV _https._tcp.kubernetes.default.svc.cluster.local",
            "A _https._tcp.kubernetes.default.svc.cluster.local",
            "SRV _https._udp.kubernetes.default.svc.cluster.local",
            "A _tcp.kubernetes.default.svc.cluster.local",
            "A _udp.kubernetes.default.svc.cluster.local",
            "TXT kubernetes.default.svc.cluster.local",
        ],
        expect![[r#"
            A kubernetes.default.svc.cluster.local: A 10.96.0.1
            A KUBERNETES.Default.SVC.cluster.local: A 10.96.0.1
            AAAA kubernetes.default.svc.cluster.local: no data
            AAAA kube-dns.kube-system.svc.cluster.local: AAAA fd00:96::a
            SRV kubernetes.default.svc.cluster.local: SRV 0 100 443 kubernetes.default.svc.cluster.local. + kubernetes.default.svc.cluster.local. 10.96.0.1
            SRV _https._tcp.kubernetes.default.svc.cluster.local: SRV 0 100 443 kubernetes.default.svc.cluster.local. + kubernetes.default.svc.cluster.local. 10.96.0.1
            A _https._tcp.kubernetes.default.svc.cluster.local: no data
            SRV _https._udp.kubernetes.default.svc.cluster.local: no name
            A _tcp.kubernetes.default.svc.cluster.local: no data
            A _udp.kubernetes.default.svc.cluster.local: no name
            TXT kubernetes.default.svc.cluster.local: no data
        "#]],
    );
}

#[test]
fn headless_services_and_their_endpoints() {
    check(
        &[
            "A db.default.svc.cluster.local",
            "AAAA db.default.svc.cluster.local",
            "A db-0.db.default.svc.cluster.local",
            "AAAA db-0.db.default.svc.cluster.local",
            "A 10-244-0-6.db.default.svc.cluster.local",
            "AAAA 10-244-0-6.db.default.svc.cluster.local",
            "A db-1.db.default.svc.cluster.local",
            "SRV _sql._tcp.db.default.svc.cluster.local",
            "A idle.default.svc.cluster.local",
            "SRV _p._udp.idle.default.svc.cluster.local",
        ],
        expect![[r#"
            A db.default.svc.cluster.local: A 10.244.0.5, A 10.244.0.6
            AAAA db.default.svc.cluster.local: AAAA fd00:244::5
            A db-0.db.default.svc.cluster.local: A 10.244.0.5
            AAAA db-0.db.default.svc.cluster.local: AAAA fd00:244::5
            A 10-244-0-6.db.default.svc.cluster.local: A 10.244.0.6
            AAAA 10-244-0-6.db.default.svc.cluster.local: no data
            A db-1.db.default.svc.cluster.local: no name
            SRV _sql._tcp.db.default.svc.cluster.local: SRV 0 100 15432 db-0.db.default.svc.cluster.local., SRV 0 100 15432 10-244-0-6.db.default.svc.cluster.local. + db-0.db.default.svc.cluster.local. 10.244.0.5, 10-244-0-6.db.default.svc.cluster.local. 10.244.0.6, db-0.db.default.svc.cluster.local. fd00:244::5
            A idle.default.svc.cluster.local: no data
            SRV _p._udp.idle.default.svc.cluster.local: no data
        "#]],
    );
}

#[test]
fn what_is_not_there_and_what_is_empty() {
    check(
        &[
            "A cluster.local",
            "A svc.cluster.local",
            "A default.svc.cluster.local",
            "A empty.svc.cluster.local",
            "A nowhere.svc.cluster.local",
            "A nothing.default.svc.cluster.local",
            "A a.b.kubernetes.default.svc.cluster.local",
            "A www.example.com.default.svc.cluster.local",
            "A www.example.com.cluster.local",
            "A www.example.com",
            "A local",
            "A xcluster.local",
        ],
        expect![[r#"
            A cluster.local: no data
            A svc.cluster.local: no data
            A default.svc.cluster.local: no data
            A empty.svc.cluster.local: no data
            A nowhere.svc.cluster.local: no name
            A nothing.default.svc.cluster.local: no name
            A a.b.kubernetes.default.svc.cluster.local: no name
            A www.example.com.default.svc.cluster.local: no name
            A www.example.com.cluster.local: no name
            A www.example.com: not ours
            A local: not ours
            A xcluster.local: not ours
        "#]],
    );
}

#[test]
fn the_zone_about_itself() {
    check(
        &["SOA cluster.local", "NS cluster.local", "A ns.dns.cluster.local", "TXT dns-version.cluster.local", "A dns.cluster.local"],
        expect![[r#"
            SOA cluster.local: SOA ns.dns.cluster.local. hostmaster.cluster.local. 11 7200 1800 86400 5
            NS cluster.local: NS ns.dns.cluster.local. + ns.dns.cluster.local. 10.96.0.10, ns.dns.cluster.local. fd00:96::a
            A ns.dns.cluster.local: A 10.96.0.10
            TXT dns-version.cluster.local: TXT 1.1.0
            A dns.cluster.local: no data
        "#]],
    );
}

#[test]
fn pods_aliases_and_pointers() {
    check(
        &[
            "A 10-244-0-5.default.pod.cluster.local",
            "AAAA 10-244-0-5.default.pod.cluster.local",
            "AAAA fd00-244--5.default.pod.cluster.local",
            "A 10-244-0-5.nowhere.pod.cluster.local",
            "A hello.default.pod.cluster.local",
            "A away.default.svc.cluster.local",
            "CNAME away.default.svc.cluster.local",
            "PTR 1.0.96.10.in-addr.arpa",
            "PTR 5.0.244.10.in-addr.arpa",
            "PTR 6.0.244.10.in-addr.arpa",
            "A 6.0.244.10.in-addr.arpa",
            "PTR 7.0.244.10.in-addr.arpa",
            "PTR 0.244.10.in-addr.arpa",
            "PTR a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa",
        ],
        expect![[r#"
            A 10-244-0-5.default.pod.cluster.local: A 10.244.0.5
            AAAA 10-244-0-5.default.pod.cluster.local: no data
            AAAA fd00-244--5.default.pod.cluster.local: AAAA fd00:244::5
            A 10-244-0-5.nowhere.pod.cluster.local: no name
            A hello.default.pod.cluster.local: no name
            A away.default.svc.cluster.local: alias www.example.com.
            CNAME away.default.svc.cluster.local: CNAME www.example.com.
            PTR 1.0.96.10.in-addr.arpa: PTR kubernetes.default.svc.cluster.local.
            PTR 5.0.244.10.in-addr.arpa: PTR db-0.db.default.svc.cluster.local.
            PTR 6.0.244.10.in-addr.arpa: PTR 10-244-0-6.db.default.svc.cluster.local.
            A 6.0.244.10.in-addr.arpa: no data
            PTR 7.0.244.10.in-addr.arpa: not ours
            PTR 0.244.10.in-addr.arpa: not ours
            PTR a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa: PTR kube-dns.kube-system.svc.cluster.local.
        "#]],
    );
}

#[test]
fn removed_things_leave_nothing_behind() {
    let mut zone = zone();
    zone.set_slice("default", "db", "db-abc", None);
    assert_eq!(ask(&zone, "A db.default.svc.cluster.local"), "no data");
    assert_eq!(ask(&zone, "PTR 5.0.244.10.in-addr.arpa"), "not ours");
    zone.set_slice("default", "db", "db-v6", None);
    for service in ["db", "idle", "away", "kubernetes"] {
        zone.set_service("default", service, None);
    }
    assert_eq!(ask(&zone, "A db.default.svc.cluster.local"), "no name");
    zone.set_service("kube-system", "kube-dns", None);
    assert!(zone.services.is_empty() && zone.owners.is_empty());
}
