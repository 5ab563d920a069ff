use std::path::Path;

use super::*;
use crate::{Auth, Client, Pem};

const BASIC: &str = r#"
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: c1
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: Y2E=
    extensions:
    - name: client.authentication.k8s.io/exec
      extension: {audience: x}
- name: c2
  cluster: {server: "https://10.0.0.2:6443", insecure-skip-tls-verify: true, tls-server-name: k8s}
users:
- name: u1
  user: {token: abc, as: jane, as-groups: [dev]}
- name: files
  user: {client-certificate: pki/c.crt, client-key: /abs/c.key}
- name: both
  user: {token: a, username: b, password: c}
- name: old
  user: {auth-provider: {name: gcp}}
- name: plugin
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [a], env: [{name: A, value: b}], provideClusterInfo: true, interactiveMode: Never}
contexts:
- name: dev
  context: {cluster: c1, user: u1, namespace: team}
- name: ops
  context: {cluster: c2, user: plugin}
"#;

fn basic() -> Kubeconfig {
    Kubeconfig::parse(BASIC.as_bytes(), Path::new("/etc/kube/config")).unwrap()
}

fn resolve(overrides: Overrides) -> String {
    match basic().resolve(&overrides) {
        Ok(resolved) => format!("{} {}", resolved.config.server, resolved.namespace),
        Err(err) => err.to_string(),
    }
}

#[test]
fn a_context_names_server_identity_and_namespace() {
    let resolved = basic().resolve(&Overrides::default()).unwrap();
    let config = resolved.config;
    assert_eq!((config.server.as_str(), resolved.namespace.as_str()), ("https://10.0.0.1:6443", "team"));
    assert_eq!(config.tls.ca, Some(Pem::Data(b"ca".to_vec())));
    assert!(matches!(config.auth, Auth::Token(token) if token == "abc"));
    assert_eq!((config.impersonate.user.as_str(), config.impersonate.groups.len()), ("jane", 1));
}

#[test]
fn plugins_are_told_of_the_cluster_and_found_beside_the_file() {
    let overrides = Overrides { context: Some("ops".into()), cluster: Some("c1".into()), ..Overrides::default() };
    let Auth::Exec(exec) = basic().resolve(&overrides).unwrap().config.auth else { panic!("a plugin") };
    assert_eq!(exec.base_dir.as_deref(), Some(Path::new("/etc/kube")));
    let cluster = exec.cluster.unwrap();
    assert_eq!((cluster.server.as_str(), cluster.config.to_string().as_str()), ("https://10.0.0.1:6443", r#"{"audience":"x"}"#));
}

#[test]
fn flags_win_and_problems_read_as_kubectls() {
    let with = |change: fn(&mut Overrides)| {
        let mut overrides = Overrides::default();
        change(&mut overrides);
        resolve(overrides)
    };
    assert_eq!(with(|o| o.server = Some("https://h:1".into())), "https://h:1 team");
    assert_eq!(with(|o| o.namespace = Some("n".into())), "https://10.0.0.1:6443 n");
    assert_eq!(with(|o| o.cluster = Some("c2".into())), "https://10.0.0.2:6443 team");
    assert_eq!(with(|o| o.context = Some("nope".into())), "context \"nope\" does not exist");
    assert_eq!(with(|o| o.cluster = Some("nope".into())), "cluster \"nope\" does not exist");
    assert_eq!(with(|o| o.user = Some("nope".into())), "auth info \"nope\" does not exist");
    assert_eq!(
        with(|o| o.user = Some("both".into())),
        "invalid configuration: more than one authentication method found for both; found [token basicAuth], only one is allowed"
    );
    assert_eq!(with(|o| o.user = Some("old".into())), "invalid configuration: no Auth Provider found for name \"gcp\"");
    assert_eq!(
        with(|o| o.user = Some("files".into())),
        "invalid configuration: [unable to read client-cert /etc/kube/pki/c.crt for files due to open /etc/kube/pki/c.crt: no such file or directory, \
         unable to read client-key /abs/c.key for files due to open /abs/c.key: no such file or directory]"
    );
    assert_eq!(
        with(|o| o.certificate_authority = Some("/no/ca".into())),
        "invalid configuration: unable to read certificate-authority /no/ca for c1 due to open /no/ca: no such file or directory"
    );
}

#[test]
fn nothing_configured_is_told_apart_from_a_dangling_context() {
    let empty = Kubeconfig::default();
    assert!(matches!(empty.resolve(&Overrides::default()), Err(KubeconfigError::Empty)));
    let fallback = Overrides { default_server: Some("http://localhost:8080".into()), ..Overrides::default() };
    assert_eq!(empty.resolve(&fallback).unwrap().config.server, "http://localhost:8080");
    let dangling = Kubeconfig { current_context: "gone".into(), ..Kubeconfig::default() };
    assert_eq!(
        dangling.resolve(&Overrides::default()).unwrap_err().to_string(),
        "invalid configuration: [context was not found for specified context: gone, default cluster has no server defined]"
    );
}

#[test]
fn the_first_file_wins_entry_by_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, missing) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("missing"));
    std::fs::write(&one, "current-context: a\nusers: [{name: u, user: {token: first}}]\n").unwrap();
    std::fs::write(&two, "current-context: b\nusers: [{name: u, user: {token: second, as: x}}, {name: v, user: {token: third}}]\n")
        .unwrap();
    let env = format!("{}:{}:{}:", missing.display(), one.display(), two.display());
    let sources = Sources { env: Some(env), ..Sources::default() };
    let merged = sources.load().unwrap();
    assert_eq!(merged.current_context, "a");
    assert_eq!((merged.user("u").unwrap().token.as_str(), merged.user("u").unwrap().impersonate.as_str()), ("first", ""));
    assert_eq!(merged.user("v").unwrap().origin, two);
    assert_eq!(sources.file_for_new(), Some(one));
    let explicit = Sources::file(&missing).load().unwrap_err();
    assert_eq!(explicit.to_string(), format!("stat {}: no such file or directory", missing.display()));
}

#[test]
fn broken_files_are_named() {
    for (text, expected) in [
        ("[]", "error loading config file \"f\": json: cannot unmarshal array into Go value of type v1.Config"),
        ("kind: Pod\napiVersion: v1", "error loading config file \"f\": no kind \"Pod\" is registered for version \"v1\""),
        (
            "current-context: 7",
            "error loading config file \"f\": json: cannot unmarshal number into Go struct field current-context of type string",
        ),
        (
            "users: [{name: a}, {name: a}]",
            "error loading config file \"f\": error converting *[]NamedAuthInfo into *map[string]*api.AuthInfo: duplicate name \"a\" in list",
        ),
        ("users: [{name: a, user: {client-key-data: '!'}}]", "error loading config file \"f\": illegal base64 data in client-key-data"),
    ] {
        assert_eq!(Kubeconfig::parse(text.as_bytes(), Path::new("f")).unwrap_err().to_string(), expected);
    }
    assert!(Kubeconfig::parse(b"a: [", Path::new("f")).unwrap_err().to_string().starts_with("error loading config file \"f\": "));
}

#[test]
fn an_edit_keeps_what_it_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/config");
    let mut file = File::open(&path).unwrap();
    file.entry_mut(Section::Clusters, "c").set_at(&["server"], "https://h");
    file.entry_mut(Section::Clusters, "c").set_at(&["from-the-future"], true);
    file.entry_mut(Section::Contexts, "x").set_at(&["cluster"], "c");
    file.set_current_context("x");
    file.save().unwrap();
    let mut file = File::open(&path).unwrap();
    assert!(file.rename(Section::Contexts, "x", "y") && !file.rename(Section::Contexts, "x", "y"));
    assert!(!file.remove(Section::Users, "nobody"));
    file.set_current_context("y");
    file.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("from-the-future: true"), "{text}");
    assert!(!path.with_extension("lock").exists() && !dir.path().join("sub/config.lock").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let resolved = Kubeconfig::read(&path).unwrap().resolve(&Overrides::default()).unwrap();
    assert_eq!((resolved.config.server.as_str(), resolved.context.as_str()), ("https://h", "y"));
    Client::new(&resolved.config).unwrap();
}

#[test]
fn a_daemon_takes_its_file_its_master_or_the_pods_own_account() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, BASIC).unwrap();
    assert_eq!(for_daemon(Some(&path), None, None, None).unwrap().server, "https://10.0.0.1:6443");
    assert_eq!(for_daemon(Some(&path), Some("https://other"), None, None).unwrap().server, "https://other");
    assert_eq!(for_daemon(None, Some("http://127.0.0.1:8080/"), None, None).unwrap().server, "http://127.0.0.1:8080");
    let err = for_daemon(Some(&dir.path().join("none")), None, None, None).unwrap_err();
    assert!(err.to_string().ends_with("none: no such file or directory"), "{err}");
    let err = for_daemon(None, Some(""), None, None).unwrap_err();
    assert!(err.to_string().starts_with("unable to load in-cluster configuration"), "{err}");
}
