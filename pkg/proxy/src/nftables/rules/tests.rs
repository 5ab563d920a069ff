//! A Service and its endpoints in, the whole fragment out.

use expect_test::{Expect, expect};

use super::*;
use crate::service::{Protocol, ServiceName};

fn view(family: Family) -> View {
    View {
        family,
        node: NodeInfo { name: "n1".into(), ips: vec!["192.168.0.1".parse().unwrap()], ..NodeInfo::default() },
        masquerade_all: false,
        local_traffic: LocalTraffic::Cidrs(vec!["10.244.0.0/16".parse().unwrap()]),
        service_cidrs: Vec::new(),
    }
}

/// A Service `ns/web` with the port `http` 80 at 10.96.0.1.
fn web() -> Service {
    Service {
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: 0 }],
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ..Service::new(ServiceName::new("ns", "web"))
    }
}

fn with_node_port(mut service: Service) -> Service {
    service.ports[0].node_port = 30080;
    service
}

/// `text` reads like "10.244.0.1 local:10.244.0.2 unready:10.244.0.3 draining:fd00::1"; all on port 8080.
fn endpoints(text: &str) -> PortEndpoints {
    let parse = |word: &str| {
        let (flag, address) = match word.split_once(':') {
            Some((flag @ ("local" | "unready" | "draining"), address)) => (flag, address),
            _ => ("", word),
        };
        let mut endpoint = Endpoint::ready(address.parse().unwrap(), 8080);
        endpoint.is_local = flag == "local";
        endpoint.is_ready = !matches!(flag, "unready" | "draining");
        endpoint.is_serving = flag != "unready";
        endpoint.is_terminating = flag == "draining";
        endpoint
    };
    let all = || text.split_whitespace().map(parse).collect();
    [Protocol::Tcp, Protocol::Sctp].map(|protocol| (("http".into(), protocol), all())).into()
}

fn render(fragment: &Fragment) -> String {
    let mut out = String::new();
    for (name, declaration) in &fragment.sets {
        let _ = writeln!(out, "set {name} {{ {declaration} }}");
    }
    for (name, rules) in &fragment.chains {
        let _ = writeln!(out, "{name}");
        for rule in rules.lines() {
            let _ = writeln!(out, "    {rule}");
        }
    }
    for (collection, key, value) in &fragment.elements {
        let comment = value.comment.as_ref().map(|comment| format!(" # {comment}")).unwrap_or_default();
        let target = value.target.as_ref().map(|target| format!(" : {target}")).unwrap_or_default();
        let _ = writeln!(out, "@{} {key}{target}{comment}", collection.as_str());
    }
    out
}

#[track_caller]
fn check(service: &Service, endpoint_text: &str, expected: Expect) {
    expected.assert_eq(&render(&fragment(service, &endpoints(endpoint_text), &view(Family::V4), &mut Slots::default())));
}

#[test]
fn a_cluster_ip_spreads_over_ready_endpoints() {
    check(
        &web(),
        "10.244.0.1 10.244.1.1 unready:10.244.2.1",
        expect![[r#"
            service-T5E3M3RX-ns/web/tcp/http
                ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
                meta l4proto tcp dnat ip to numgen random mod 2 offset 0 map @endpoints-tcp
            @cluster-ips 10.96.0.1
            @endpoints-tcp 0 : 10.244.0.1 . 8080
            @endpoints-tcp 1 : 10.244.1.1 . 8080
            @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
            @hairpin-connections 10.244.0.1 . 10.244.0.1
            @hairpin-connections 10.244.1.1 . 10.244.1.1
        "#]],
    );
}

#[test]
fn one_endpoint_needs_no_dice() {
    check(
        &web(),
        "10.244.0.1",
        expect![[r#"
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            meta l4proto tcp dnat ip to 10.244.0.1:8080
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @hairpin-connections 10.244.0.1 . 10.244.0.1
    "#]],
    );
}

#[test]
fn without_endpoints_the_answer_is_a_rejection() {
    check(
        &with_node_port(web()),
        "unready:10.244.0.1",
        expect![[r#"
        @cluster-ips 10.96.0.1
        @no-endpoint-services 10.96.0.1 . tcp . 80 : goto reject-chain # ns/web:http
        @no-endpoint-nodeports tcp . 30080 : goto reject-chain # ns/web:http
    "#]],
    );
}

#[test]
fn a_node_port_masquerades_and_spreads() {
    check(
        &with_node_port(web()),
        "10.244.0.1",
        expect![[r#"
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            meta l4proto tcp dnat ip to 10.244.0.1:8080
        external-T5E3M3RX-ns/web/tcp/http
            jump mark-for-masquerade
            goto service-T5E3M3RX-ns/web/tcp/http
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @service-nodeports tcp . 30080 : goto external-T5E3M3RX-ns/web/tcp/http
        @hairpin-connections 10.244.0.1 . 10.244.0.1
    "#]],
    );
}

#[test]
fn external_policy_local_keeps_the_source_and_short_circuits_pods() {
    let service = Service { external_local: true, ..with_node_port(web()) };
    check(
        &service,
        "10.244.1.1 local:10.244.0.1",
        expect![[r#"
            service-T5E3M3RX-ns/web/tcp/http
                ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
                meta l4proto tcp dnat ip to numgen random mod 2 offset 0 map @endpoints-tcp
            local-T5E3M3RX-ns/web/tcp/http
                meta l4proto tcp dnat ip to 10.244.0.1:8080
            external-T5E3M3RX-ns/web/tcp/http
                ip saddr 10.244.0.0/16 goto service-T5E3M3RX-ns/web/tcp/http
                fib saddr type local jump mark-for-masquerade
                fib saddr type local goto service-T5E3M3RX-ns/web/tcp/http
                goto local-T5E3M3RX-ns/web/tcp/http
            @cluster-ips 10.96.0.1
            @endpoints-tcp 0 : 10.244.1.1 . 8080
            @endpoints-tcp 1 : 10.244.0.1 . 8080
            @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
            @service-nodeports tcp . 30080 : goto external-T5E3M3RX-ns/web/tcp/http
            @hairpin-connections 10.244.0.1 . 10.244.0.1
            @hairpin-connections 10.244.1.1 . 10.244.1.1
        "#]],
    );
}

#[test]
fn external_policy_local_without_local_endpoints_drops_but_still_serves_pods() {
    let service = Service { external_local: true, ..with_node_port(web()) };
    check(
        &service,
        "10.244.1.1",
        expect![[r#"
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            meta l4proto tcp dnat ip to 10.244.1.1:8080
        external-T5E3M3RX-ns/web/tcp/http
            ip saddr 10.244.0.0/16 goto service-T5E3M3RX-ns/web/tcp/http
            fib saddr type local jump mark-for-masquerade
            fib saddr type local goto service-T5E3M3RX-ns/web/tcp/http
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @service-nodeports tcp . 30080 : goto external-T5E3M3RX-ns/web/tcp/http
        @no-endpoint-nodeports tcp . 30080 : drop # ns/web:http
        @hairpin-connections 10.244.1.1 . 10.244.1.1
    "#]],
    );
}

#[test]
fn internal_policy_local_without_local_endpoints_drops() {
    check(
        &Service { internal_local: true, ..web() },
        "10.244.1.1",
        expect![[r#"
        @cluster-ips 10.96.0.1
        @no-endpoint-services 10.96.0.1 . tcp . 80 : drop # ns/web:http
    "#]],
    );
}

#[test]
fn load_balancer_and_external_addresses_with_source_ranges() {
    let service = Service {
        external_ips: vec!["203.0.113.1".parse().unwrap()],
        load_balancer_ips: vec!["203.0.113.2".parse().unwrap(), "2001:db8::2".parse().unwrap()],
        source_ranges: ["198.51.100.0/24", "198.51.100.7/32", "192.168.0.0/16", "2001:db8::/32"]
            .map(|range| range.parse().unwrap())
            .to_vec(),
        ..web()
    };
    check(
        &service,
        "10.244.0.1",
        expect![[r#"
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            meta l4proto tcp dnat ip to 10.244.0.1:8080
        external-T5E3M3RX-ns/web/tcp/http
            jump mark-for-masquerade
            goto service-T5E3M3RX-ns/web/tcp/http
        firewall-T5E3M3RX-ns/web/tcp/http
            ip saddr != { 192.168.0.0/16, 198.51.100.0/24, 203.0.113.2/32 } drop
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @service-ips 203.0.113.1 . tcp . 80 : goto external-T5E3M3RX-ns/web/tcp/http
        @service-ips 203.0.113.2 . tcp . 80 : goto external-T5E3M3RX-ns/web/tcp/http
        @firewall-ips 203.0.113.2 . tcp . 80 : goto firewall-T5E3M3RX-ns/web/tcp/http
        @hairpin-connections 10.244.0.1 . 10.244.0.1
    "#]],
    );
}

#[test]
fn affinity_remembers_clients_per_endpoint() {
    check(
        &Service { affinity_timeout: Some(10800), ..web() },
        "10.244.0.1 10.244.1.1",
        expect![[r#"
        set affinity-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080 { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }
        set affinity-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080 { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            ip saddr @affinity-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080 goto endpoint-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080
            ip saddr @affinity-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080 goto endpoint-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080
            numgen random mod 2 vmap { 0 : goto endpoint-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080, 1 : goto endpoint-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080 }
        endpoint-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080
            update @affinity-QFNZ7ECM-ns/web/tcp/http__10.244.0.1/8080 { ip saddr }
            meta l4proto tcp dnat ip to 10.244.0.1:8080
        endpoint-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080
            update @affinity-UOUMBVC5-ns/web/tcp/http__10.244.1.1/8080 { ip saddr }
            meta l4proto tcp dnat ip to 10.244.1.1:8080
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @hairpin-connections 10.244.0.1 . 10.244.0.1
        @hairpin-connections 10.244.1.1 . 10.244.1.1
    "#]],
    );
}

#[test]
fn ipv6_has_brackets_and_its_own_words() {
    let mut service = web();
    service.cluster_ips.push("fd00:96::1".parse().unwrap());
    service.ports[0].protocol = Protocol::Sctp;
    let fragment = fragment(&service, &endpoints("10.244.0.1 fd00:244::1"), &view(Family::V6), &mut Slots::default());
    expect![[r#"
        service-BMOCRLK5-ns/web/sctp/http
            meta l4proto sctp dnat ip6 to [fd00:244::1]:8080
        @cluster-ips fd00:96::1
        @service-ips fd00:96::1 . sctp . 80 : goto service-BMOCRLK5-ns/web/sctp/http
        @hairpin-connections fd00:244::1 . fd00:244::1
    "#]]
    .assert_eq(&render(&fragment));
}

#[test]
fn the_last_endpoint_drains() {
    check(
        &web(),
        "draining:10.244.0.1 unready:10.244.0.2",
        expect![[r#"
        service-T5E3M3RX-ns/web/tcp/http
            ip daddr 10.96.0.1 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
            meta l4proto tcp dnat ip to 10.244.0.1:8080
        @cluster-ips 10.96.0.1
        @service-ips 10.96.0.1 . tcp . 80 : goto service-T5E3M3RX-ns/web/tcp/http
        @hairpin-connections 10.244.0.1 . 10.244.0.1
    "#]],
    );
}

#[test]
fn masquerade_all_and_unknown_sources() {
    let first_rule = |masquerade_all, local_traffic| {
        let view = View { masquerade_all, local_traffic, ..view(Family::V4) };
        let fragment = fragment(&web(), &endpoints("10.244.0.1"), &view, &mut Slots::default());
        fragment.chains[0].1.lines().next().unwrap().to_owned()
    };
    let unknown = || LocalTraffic::Unknown;
    assert_eq!(first_rule(true, unknown()), "ip daddr 10.96.0.1 jump mark-for-masquerade");
    assert_eq!(first_rule(false, unknown()), "meta l4proto tcp dnat ip to 10.244.0.1:8080");
    assert_eq!(
        first_rule(false, LocalTraffic::BridgeInterface("cbr0".to_owned())),
        "ip daddr 10.96.0.1 iifname != \"cbr0\" jump mark-for-masquerade"
    );
    assert_eq!(
        first_rule(false, LocalTraffic::InterfaceNamePrefix("veth".to_owned())),
        "ip daddr 10.96.0.1 iifname != \"veth*\" jump mark-for-masquerade"
    );
}

#[test]
fn a_service_of_the_other_family_has_no_rules() {
    assert!(fragment(&web(), &endpoints("10.244.0.1"), &view(Family::V6), &mut Slots::default()).is_empty());
}
