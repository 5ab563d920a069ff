//! The flags of kube-apiserver. Upstream: cmd/kube-apiserver/app/options.

use component_base::daemon::Command;
use component_base::flags::{FlagSet, Kind};

use crate::Config;
use crate::config::complete;

/// Feature gates the program reads.
const GATES: &[&str] = &[];

/// The program: its flags and how they become a config.
pub fn command() -> Command<Config> {
    Command::new(
        "The Kubernetes API server: validates and keeps the objects of a cluster and serves them to everybody else.",
        flags(),
        complete,
    )
    .honour_gates(GATES)
}

fn flags() -> FlagSet {
    FlagSet::of("kube-apiserver")
        .honour(&[
            (
                "advertise-address",
                "The address on which other members of the cluster reach this server. Default: --bind-address, or the host's own.",
            ),
            ("allow-privileged", "Allow privileged containers."),
            ("anonymous-auth", "Let requests without credentials in as system:anonymous."),
            ("api-audiences", "Audiences of tokens that are good for this server. Default: the service account issuers."),
            ("authorization-mode", "Ordered list of authorizers: Node, RBAC, AlwaysAllow, AlwaysDeny."),
            ("bind-address", "The address to listen on for HTTPS."),
            ("client-ca-file", "Requests with a client certificate signed by one of these authorities are authenticated by its subject."),
            ("disable-admission-plugins", "Admission plugins to turn off although they are on by default."),
            ("enable-admission-plugins", "Admission plugins to turn on besides those on by default."),
            ("enable-bootstrap-token-auth", "Let Secrets of type bootstrap.kubernetes.io/token in kube-system authenticate joining nodes."),
            ("etcd-cafile", "The authority of etcd's certificates."),
            ("etcd-certfile", "The client certificate for etcd."),
            ("etcd-keyfile", "The client key for etcd."),
            ("etcd-prefix", "The prefix of all keys in the store."),
            ("etcd-servers", "etcd members to keep the cluster's state in (scheme://ip:port). Without it the state is kept in --data-dir."),
            ("event-ttl", "How long events are kept."),
            ("feature-gates", "Feature gates to set, as name=bool pairs."),
            ("http2-max-streams-per-connection", "Streams per HTTP/2 connection. 0 is the default."),
            ("kubelet-certificate-authority", "The authority of kubelets' serving certificates."),
            ("kubelet-client-certificate", "The client certificate for connections to kubelets."),
            ("kubelet-client-key", "The client key for connections to kubelets."),
            ("kubelet-preferred-address-types", "Order in which a node's addresses are tried."),
            ("max-mutating-requests-inflight", "Writing requests that run at a time; more are refused with 429."),
            ("max-requests-inflight", "Reading requests that run at a time; more are refused with 429."),
            ("permit-port-sharing", "Listen with SO_REUSEPORT."),
            ("proxy-client-cert-file", "The certificate with which the server proves its identity to aggregated servers."),
            ("proxy-client-key-file", "The key of --proxy-client-cert-file."),
            ("request-timeout", "How long a request may take that is not long-running."),
            ("requestheader-allowed-names", "Common names of certificates that may name users in headers. Empty: any."),
            ("requestheader-client-ca-file", "The authority of proxies that may name users in headers."),
            ("requestheader-extra-headers-prefix", "Prefixes of headers with a user's extra information."),
            ("requestheader-group-headers", "Headers with a user's groups."),
            ("requestheader-uid-headers", "Headers with a user's UID."),
            ("requestheader-username-headers", "Headers with a user's name."),
            (
                "runtime-config",
                "API versions to turn on or off. This build serves what is on by default: only `api/all=true` (no effect) is accepted.",
            ),
            ("secure-port", "The port for HTTPS."),
            ("service-account-extend-token-expiration", "Let projected tokens last a year for clients that do not read them again."),
            ("service-account-issuer", "Issuer of service account tokens. The first one given is the one of new tokens."),
            ("service-account-key-file", "Keys that verify service account tokens."),
            ("service-account-max-token-expiration", "The longest a service account token may last. 0: as long as it is asked for."),
            ("service-account-signing-key-file", "The key that signs service account tokens."),
            ("service-cluster-ip-range", "Ranges of service addresses, at most one per IP family."),
            ("service-node-port-range", "Ports of node port services."),
            ("shutdown-delay-duration", "How long the server goes on serving, but is not ready, once it was told to stop."),
            ("tls-cert-file", "The server's certificate chain."),
            ("tls-cipher-suites", "Cipher suites for TLS 1.2."),
            ("tls-min-version", "The least TLS version: VersionTLS12 or VersionTLS13."),
            ("tls-private-key-file", "The key of --tls-cert-file."),
            ("token-auth-file", "A file of static tokens: token,user,uid,\"group1,group2\"."),
        ])
        .own("data-dir", Kind::Text, "/var/lib/kube-apiserver", "Where the cluster's state is kept when --etcd-servers is not given.")
}
