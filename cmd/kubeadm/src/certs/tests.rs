use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::kubeconfig;

pub fn options(folder: &Path) -> Options {
    Options {
        cert_dir: folder.join("pki"),
        kubeconfig_dir: folder.to_owned(),
        advertise_address: "192.168.0.7".parse().unwrap(),
        bind_port: 6443,
        control_plane_endpoint: None,
        extra_sans: Vec::new(),
        service_ip: "10.96.0.1".parse().unwrap(),
        dns_domain: "cluster.local".to_owned(),
        node_name: "node1".to_owned(),
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_232_570)
}

fn certs(phase: &str, options: &Options) -> Result<String, String> {
    let mut out = Vec::new();
    run(phase, options, now(), &mut out).map_err(|error| format!("{}: {}", error.phase, component_base::logs::chain(&error.cause)))?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn all_makes_upstreams_files_and_then_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let said = certs("all", &options).unwrap();
    let expected = format!(
        r#"[certs] Using certificateDir folder {:?}
[certs] Generating "ca" certificate and key
[certs] Generating "apiserver" certificate and key
[certs] apiserver serving cert is signed for DNS names [kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local node1] and IPs [10.96.0.1 192.168.0.7]
[certs] Generating "apiserver-kubelet-client" certificate and key
[certs] Generating "front-proxy-ca" certificate and key
[certs] Generating "front-proxy-client" certificate and key
[certs] Generating "etcd/ca" certificate and key
[certs] Generating "etcd/server" certificate and key
[certs] etcd/server serving cert is signed for DNS names [localhost node1] and IPs [192.168.0.7 127.0.0.1 ::1]
[certs] Generating "etcd/peer" certificate and key
[certs] etcd/peer serving cert is signed for DNS names [localhost node1] and IPs [192.168.0.7 127.0.0.1 ::1]
[certs] Generating "etcd/healthcheck-client" certificate and key
[certs] Generating "apiserver-etcd-client" certificate and key
[certs] Generating "sa" key and public key
"#,
        options.cert_dir
    );
    assert_eq!(said, expected);
    let mut names: Vec<String> = Vec::new();
    for (prefix, folder) in [("", options.cert_dir.clone()), ("etcd/", options.cert_dir.join("etcd"))] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".key") {
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
            }
            names.push(format!("{prefix}{name}"));
        }
    }
    names.sort();
    assert_eq!(
        names.join(" "),
        "apiserver-etcd-client.crt apiserver-etcd-client.key apiserver-kubelet-client.crt apiserver-kubelet-client.key apiserver.crt \
         apiserver.key ca.crt ca.key etcd etcd/ca.crt etcd/ca.key etcd/healthcheck-client.crt etcd/healthcheck-client.key etcd/peer.crt \
         etcd/peer.key etcd/server.crt etcd/server.key front-proxy-ca.crt front-proxy-ca.key front-proxy-client.crt \
         front-proxy-client.key sa.key sa.pub"
    );

    let before = std::fs::read_to_string(options.cert_dir.join("apiserver.crt")).unwrap();
    let again = certs("all", &options).unwrap();
    assert!(again.contains("[certs] Using existing ca certificate authority\n"), "{again}");
    assert!(again.contains("[certs] Using existing apiserver certificate and key on disk\n"), "{again}");
    assert!(again.ends_with("[certs] Using the existing \"sa\" key\n"), "{again}");
    assert_eq!(before, std::fs::read_to_string(options.cert_dir.join("apiserver.crt")).unwrap());
}

#[test]
fn what_is_there_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let missing = certs("apiserver", &options).unwrap_err();
    assert!(missing.starts_with("certs/apiserver: couldn't load ca certificate authority from "), "{missing}");
    certs("ca", &options).unwrap();
    certs("apiserver", &options).unwrap();

    let moved = Options { advertise_address: "192.168.0.8".parse().unwrap(), ..options.clone() };
    assert_eq!(
        certs("apiserver", &moved).unwrap_err(),
        "certs/apiserver: certificate apiserver is invalid: it is not valid for 192.168.0.8"
    );
    std::fs::remove_file(options.cert_dir.join("ca.crt")).unwrap();
    assert!(certs("ca", &options).unwrap_err().contains("only one of ca.crt and ca.key exists"));
    std::fs::remove_file(options.cert_dir.join("ca.key")).unwrap();
    certs("ca", &options).unwrap();
    assert_eq!(certs("apiserver", &options).unwrap_err(), "certs/apiserver: certificate apiserver is not signed by corresponding CA");

    std::fs::remove_file(options.cert_dir.join("ca.key")).unwrap();
    assert_eq!(certs("ca", &options).unwrap(), "[certs] Using existing ca keyless certificate authority\n");
}

#[test]
fn kubeconfigs_carry_upstreams_identities() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    certs("ca", &options).unwrap();
    let configs = |phase: &str, options: &Options| {
        let mut out = Vec::new();
        kubeconfig::run(phase, options, now(), &mut out)
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|error| format!("{}: {}", error.phase, component_base::logs::chain(&error.cause)))
    };
    let said = configs("all", &options).unwrap();
    let expected = format!(
        "[kubeconfig] Using kubeconfig folder {:?}\n[kubeconfig] Writing \"admin.conf\" kubeconfig file\n\
         [kubeconfig] Writing \"super-admin.conf\" kubeconfig file\n[kubeconfig] Writing \"kubelet.conf\" kubeconfig file\n\
         [kubeconfig] Writing \"controller-manager.conf\" kubeconfig file\n[kubeconfig] Writing \"scheduler.conf\" kubeconfig file\n",
        options.kubeconfig_dir
    );
    assert_eq!(said, expected);

    for (file, user, organizations) in [
        ("admin", "kubernetes-admin", "kubeadm:cluster-admins"),
        ("super-admin", "kubernetes-super-admin", "system:masters"),
        ("kubelet", "system:node:node1", "system:nodes"),
        ("controller-manager", "system:kube-controller-manager", ""),
        ("scheduler", "system:kube-scheduler", ""),
    ] {
        let text = std::fs::read_to_string(folder.path().join(format!("{file}.conf"))).unwrap();
        assert!(text.contains("\n    server: https://192.168.0.7:6443\n"), "{text}");
        assert!(text.contains(&format!("\ncurrent-context: {user}@kubernetes\n")), "{text}");
        let data = text.lines().find_map(|line| line.trim().strip_prefix("client-certificate-data: ")).unwrap();
        let subject = kubeconfig::subject_of(data).unwrap();
        assert_eq!(subject.common_name, user);
        assert_eq!(subject.organizations.join(","), organizations);
    }

    let again = configs("admin", &options).unwrap();
    assert_eq!(again, format!("[kubeconfig] Using existing kubeconfig file: {:?}\n", folder.path().join("admin.conf")));
    let moved = Options { bind_port: 6444, ..options };
    let refused = configs("admin", &moved).unwrap_err();
    assert!(refused.ends_with("exists already but has got the wrong API Server URL"), "{refused}");
}
