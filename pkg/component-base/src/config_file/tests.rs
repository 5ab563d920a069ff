use apimachinery::json::{JsonError, JsonReader, JsonWriter};
use apimachinery::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};
use apimachinery::wire;

use super::*;

/// A few fields of the kubelet's config under its name, so that the table's defaults apply.
#[derive(Clone, Default, PartialEq)]
struct Kubelet {
    sync_frequency: apimachinery::Duration,
    max_pods: i32,
    fail_swap_on: Option<bool>,
    static_pod_path: String,
    authorization: Authorization,
}

#[derive(Clone, Default, PartialEq)]
struct Authorization {
    mode: String,
}

static KUBELET: Schema = Schema {
    name: "KubeletConfiguration",
    full_name: "io.k8s.kubelet.config.v1beta1.KubeletConfiguration",
    atomic: false,
    fields: &[
        Field { json: "syncFrequency", ty: Type::Duration, ..Field::BASE },
        Field { json: "maxPods", ty: Type::Int32, ..Field::BASE },
        Field { json: "failSwapOn", ty: Type::Bool, pointer: true, ..Field::BASE },
        Field { json: "staticPodPath", ty: Type::String, ..Field::BASE },
        Field { json: "authorization", ty: Type::Struct(&AUTHORIZATION), ..Field::BASE },
    ],
};

static AUTHORIZATION: Schema = Schema {
    name: "Authorization",
    full_name: "Authorization",
    atomic: false,
    fields: &[Field { json: "mode", ty: Type::String, ..Field::BASE }],
};

macro_rules! message {
    ($name:ty, $schema:ident, $($json:literal => $field:ident),*) => {
        impl Message for $name {
            const SCHEMA: &'static Schema = &$schema;
            fn json_write_fields(&self, writer: &mut JsonWriter) {
                $(writer.field($json, &self.$field);)*
            }
            fn json_read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<bool, JsonError> {
                match key {
                    $($json => wire::Field::json_read(&mut self.$field, reader)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
            fn proto_write_fields(&self, _: &mut ProtoWriter) {}
            fn proto_read_field(&mut self, _: u32, _: WireType, _: &mut ProtoReader<'_>) -> Result<bool, ProtoError> {
                Ok(false)
            }
        }
        apimachinery::impl_message_field!($name);
    };
}

message!(Kubelet, KUBELET, "syncFrequency" => sync_frequency, "maxPods" => max_pods, "failSwapOn" => fail_swap_on,
    "staticPodPath" => static_pod_path, "authorization" => authorization);
message!(Authorization, AUTHORIZATION, "mode" => mode);

const FILE: ConfigFile<'_> = ConfigFile {
    api_version: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    honoured: &["maxPods", "authorization.mode"],
    more_defaults: &[("staticPodPath", "\"/etc/kubernetes/manifests\"")],
};

fn read(text: &str) -> Result<Kubelet, String> {
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    FILE.read(format!("{head}{text}").as_bytes()).map_err(|problems| problems.to_string())
}

#[test]
fn what_is_not_written_has_upstreams_default() {
    let defaults: Kubelet = FILE.defaults();
    assert_eq!((defaults.max_pods, defaults.fail_swap_on), (110, Some(true)));
    assert_eq!(defaults.authorization.mode, "Webhook");
    assert_eq!(defaults.static_pod_path, "/etc/kubernetes/manifests");
    // A zero counts as nothing where Go has no pointer, and so does null.
    assert_eq!(read("maxPods: 0\nfailSwapOn: null\n"), Ok(defaults));
    let config = read("maxPods: 7\nauthorization: {mode: AlwaysAllow}\n").unwrap();
    assert_eq!((config.max_pods, config.authorization.mode.as_str()), (7, "AlwaysAllow"));
}

#[test]
fn fields_not_honoured_may_say_what_holds_anyway() {
    let supported = ["syncFrequency: 60s\n", "failSwapOn: true\n", "staticPodPath: /etc/kubernetes/manifests\n"];
    for text in supported {
        assert!(read(text).is_ok(), "{text}");
    }
    for (text, path) in
        [("syncFrequency: 61s\n", "syncFrequency"), ("failSwapOn: false\n", "failSwapOn"), ("staticPodPath: /x\n", "staticPodPath")]
    {
        let expected = format!("field {path} of KubeletConfiguration is not supported yet by this build");
        assert_eq!(read(text), Err(expected), "{text}");
    }
}

#[test]
fn bad_files_are_refused() {
    for (text, message) in [
        ("maxPodz: 1\n", "strict decoding error: unknown field \"maxPodz\""),
        ("maxPods: 1\nmaxPods: 2\n", "strict decoding error: line 4: key \"maxPods\" already set in map"),
        ("authorization: {mode: x, moda: y}\n", "strict decoding error: unknown field \"authorization.moda\""),
    ] {
        assert_eq!(read(text), Err(message.to_owned()), "{text}");
    }
    assert!(read("maxPods: many\n").unwrap_err().contains("cannot unmarshal"), "{:?}", read("maxPods: many\n"));
    for (text, message) in [
        ("", "couldn't get version/kind; want kubelet.config.k8s.io/v1beta1 KubeletConfiguration"),
        ("kind: A\n", "Object 'apiVersion' is missing; want kubelet.config.k8s.io/v1beta1 KubeletConfiguration"),
        (
            "kind: A\napiVersion: b/v1\n",
            "no kind \"A\" is registered for version \"b/v1\"; want kubelet.config.k8s.io/v1beta1 KubeletConfiguration",
        ),
    ] {
        assert_eq!(FILE.read::<Kubelet>(text.as_bytes()).unwrap_err().to_string(), message, "{text}");
    }
    let missing = FILE.load::<Kubelet>(Path::new("/nowhere/x.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("open /nowhere/x.yaml: "), "{missing}");
}

#[test]
fn paths_are_relative_to_their_file() {
    assert_eq!(resolve(Path::new("/etc/k/config.yaml"), "ca.crt"), Path::new("/etc/k/ca.crt"));
    assert_eq!(resolve(Path::new("/etc/k/config.yaml"), "/ca.crt"), Path::new("/ca.crt"));
}

#[test]
fn the_table_is_upstreams() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("../../api/component-config.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expected = String::new();
    for (name, described) in facts["types"].as_object().unwrap() {
        let Some(rules) = described["defaults"].as_object() else { continue };
        // Rules per list item, and those of types that hold Go names, are their component's.
        let plain = |path: &str| !path.contains("[]") && path.starts_with(|first: char| first.is_ascii_lowercase());
        let rules: Vec<String> = rules.iter().filter(|(path, _)| plain(path)).map(|(path, json)| format!("{path}\t{json}\n")).collect();
        if !rules.is_empty() {
            expected += &format!("# {name}\n{}", rules.concat());
        }
    }
    if std::env::var_os("UPDATE_FACTS").is_some() {
        std::fs::write(root.join("src/config_file/defaults.txt"), &expected).unwrap();
    }
    assert!(TABLE == expected, "run: UPDATE_FACTS=1 cargo test -p ferrokube-component-base, then build again");
}
