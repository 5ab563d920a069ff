use proptest::prelude::*;

use super::*;
use crate::Time;
use crate::schema::{Field, ListType, Schema, Type};
use crate::typed::{CustomType, Shape, TypeRef};
use crate::value::Value;

static META: Schema = Schema {
    name: "ObjectMeta",
    full_name: "ObjectMeta",
    atomic: false,
    fields: &[
        Field { json: "name", ty: Type::String, ..Field::BASE },
        Field { json: "uid", ty: Type::String, ..Field::BASE },
        Field { json: "labels", ty: Type::Map(&Type::String), ..Field::BASE },
        Field { json: "annotations", ty: Type::Map(&Type::String), ..Field::BASE },
        Field { json: "finalizers", ty: Type::List(&Type::String), list_type: Some(ListType::Set), ..Field::BASE },
    ],
};

static PORT: Schema = Schema {
    name: "Port",
    full_name: "Port",
    atomic: false,
    fields: &[
        Field { json: "port", ty: Type::Int32, ..Field::BASE },
        Field { json: "protocol", ty: Type::String, default: Some("\"TCP\""), ..Field::BASE },
        Field { json: "name", ty: Type::String, ..Field::BASE },
    ],
};

static SPEC: Schema = Schema {
    name: "Spec",
    full_name: "Spec",
    atomic: false,
    fields: &[
        Field { json: "replicas", ty: Type::Int32, ..Field::BASE },
        Field { json: "paused", ty: Type::Bool, ..Field::BASE },
        Field {
            json: "ports",
            ty: Type::List(&Type::Struct(&PORT)),
            list_type: Some(ListType::Map),
            list_map_keys: &["port", "protocol"],
            ..Field::BASE
        },
        Field { json: "args", ty: Type::List(&Type::String), ..Field::BASE },
        Field { json: "selector", ty: Type::Map(&Type::String), map_atomic: true, ..Field::BASE },
    ],
};

static THING: Schema = Schema {
    name: "Thing",
    full_name: "Thing",
    atomic: false,
    fields: &[
        Field { json: "metadata", ty: Type::Struct(&META), ..Field::BASE },
        Field { json: "spec", ty: Type::Struct(&SPEC), ..Field::BASE },
        Field { json: "status", ty: Type::Map(&Type::String), ..Field::BASE },
    ],
};

fn json(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn thing() -> TypeRef<'static> {
    TypeRef::of(&THING)
}

fn manager(reset_fields: &FieldSet) -> FieldManager<'_> {
    FieldManager { ty: thing(), api_version: "v1", subresource: "", reset_fields, now: Time::from_unix(1_700_000_000), versions: None }
}

/// Applies in turn, each line "manager: configuration"; gives back the object without its record, and the record as lines.
struct Story {
    live: Value,
}

impl Story {
    fn new() -> Self {
        Story { live: json("{}") }
    }

    fn apply(&mut self, who: &str, config: &str, force: bool) -> Result<(), String> {
        self.live = manager(&FieldSet::EMPTY).apply(&self.live, &json(config), who, force).map_err(|error| error.to_string())?;
        self.live.set_at(&["metadata", "uid"], "u");
        Ok(())
    }

    fn update(&mut self, who: &str, new: &str) {
        let mut new = json(new);
        new.set_at(&["metadata", "uid"], "u");
        manager(&FieldSet::EMPTY).update(&self.live, &mut new, who);
        self.live = new;
    }

    fn record(&self) -> Vec<String> {
        let managed = Managed::from_value(&self.live["metadata"]["managedFields"]).unwrap();
        let line = |entry: &ManagedEntry| format!("{} {}: {}", entry.operation.as_str(), entry.manager, entry.fields.paths().join(" "));
        managed.entries.iter().map(line).collect()
    }

    fn spec(&self) -> String {
        self.live["spec"].to_string()
    }
}

#[test]
fn what_a_manager_gives_up_goes_unless_others_own_it() {
    let mut story = Story::new();
    story.apply("a", r#"{"spec":{"replicas":1,"ports":[{"port":80,"name":"x"}],"paused":true}}"#, false).unwrap();
    assert_eq!(
        story.record(),
        [
            r#"Apply a: .spec.paused .spec.replicas .spec.ports[port=80,protocol="TCP"] .spec.ports[port=80,protocol="TCP"].name .spec.ports[port=80,protocol="TCP"].port"#
        ]
    );
    story.apply("b", r#"{"spec":{"replicas":1}}"#, false).unwrap();
    story.apply("a", r#"{"spec":{"ports":[{"port":81}]}}"#, false).unwrap();
    // Port 80 and paused go; replicas stay, for b has them.
    assert_eq!(story.spec(), r#"{"replicas":1,"ports":[{"port":81}]}"#);
    story.apply("b", r#"{}"#, false).unwrap();
    assert_eq!(story.spec(), r#"{"ports":[{"port":81}]}"#);
    assert_eq!(story.record(), [r#"Apply a: .spec.ports[port=81,protocol="TCP"] .spec.ports[port=81,protocol="TCP"].port"#]);
}

#[test]
fn conflicts_are_named_and_can_be_forced() {
    let mut story = Story::new();
    story.apply("a", r#"{"spec":{"replicas":1,"paused":true}}"#, false).unwrap();
    assert_eq!(
        story.apply("b", r#"{"spec":{"replicas":2}}"#, false).unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas"
    );
    story.update("kubectl", r#"{"metadata":{"labels":{"x":"y"}},"spec":{"replicas":3,"paused":true}}"#);
    assert_eq!(
        story.apply("b", r#"{"metadata":{"labels":{"x":"z"}},"spec":{"replicas":2,"paused":false}}"#, false).unwrap_err(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.paused\nconflicts with \"kubectl\" using v1:\n- .metadata.labels.x\n- .spec.replicas"
    );
    story.apply("b", r#"{"metadata":{"labels":{"x":"z"}},"spec":{"replicas":2}}"#, true).unwrap();
    assert_eq!(story.record(), ["Apply a: .spec.paused", "Apply b: .metadata.labels.x .spec.replicas", "Update kubectl: .metadata.labels"]);
    // The same again changes nothing.
    let before = story.live.clone();
    story.apply("b", r#"{"metadata":{"labels":{"x":"z"}},"spec":{"replicas":2}}"#, false).unwrap();
    assert_eq!(story.live, before);
}

#[test]
fn updates_are_tracked_by_what_they_change() {
    let mut story = Story { live: json(r#"{"metadata":{"uid":"u"}}"#) };
    story.update("a", r#"{"spec":{"replicas":1,"selector":{"x":"y"}},"metadata":{"name":"n"}}"#);
    // Not tracked: the object existed without a record, and nobody has applied.
    assert_eq!(story.live["metadata"]["managedFields"], Value::Null);
    story.live = json("{}");
    let mut new = json(r#"{"metadata":{"name":"n"},"spec":{"replicas":1,"selector":{"x":"y"},"ports":[{"port":1}]}}"#);
    manager(&FieldSet::EMPTY).update(&json(r#"{"spec":{"ports":null}}"#), &mut new, "a");
    story.live = new;
    assert_eq!(
        story.record(),
        [r#"Update a: .spec.replicas .spec.selector .spec.ports[port=1,protocol="TCP"] .spec.ports[port=1,protocol="TCP"].port"#]
    );
    story.update("b", r#"{"metadata":{"name":"n"},"spec":{"selector":{"x":"z"},"ports":[{"port":1}]}}"#);
    assert_eq!(
        story.record(),
        [r#"Update a: .spec.ports[port=1,protocol="TCP"] .spec.ports[port=1,protocol="TCP"].port"#, "Update b: .spec.selector"]
    );
    // An update that changes nothing leaves the record as it is.
    let before = story.live.clone();
    story.update("c", r#"{"metadata":{"name":"n"},"spec":{"selector":{"x":"z"},"ports":[{"port":1}]}}"#);
    assert_eq!(story.live["metadata"]["managedFields"], before["metadata"]["managedFields"]);
    // A client can clear the record.
    story.update("c", r#"{"metadata":{"name":"n","managedFields":[{}]},"spec":{}}"#);
    assert_eq!(story.live["metadata"]["managedFields"], Value::Null);
    story.live.set_at(&["spec", "replicas"], 5);
    story.apply("d", r#"{"spec":{"paused":true}}"#, false).unwrap();
    assert_eq!(story.record(), ["Apply d: .spec.paused", "Update before-first-apply: .spec .spec.replicas"]);
}

#[test]
fn fields_an_endpoint_cannot_set_are_nobodys() {
    let reset = FieldSet::of_fields(&[&["status"]]);
    let mut new = json(r#"{"spec":{"replicas":1},"status":{"a":"b"}}"#);
    manager(&reset).update(&json(r#"{"spec":{},"status":{}}"#), &mut new, "a");
    assert_eq!(new["metadata"]["managedFields"][0]["fieldsV1"], json(r#"{"f:spec":{"f:replicas":{}}}"#));
    assert_eq!(new["metadata"]["managedFields"][0]["time"], Value::from("2023-11-14T22:13:20Z"));
}

#[test]
fn many_updaters_are_merged_into_one() {
    let mut managed = Managed::default();
    for number in 0..12 {
        managed.entries.push(ManagedEntry {
            manager: format!("m{number:02}"),
            operation: Operation::Update,
            api_version: "v1".into(),
            subresource: String::new(),
            time: Some(Time::from_unix(number)),
            fields: FieldSet::of_fields(&[&[&*format!("f{number}")]]),
        });
    }
    managed.cap_updates();
    assert_eq!(managed.entries.len(), 10);
    let ancient = managed.entries.iter().find(|entry| entry.manager == managed::ANCIENT_CHANGES).unwrap();
    assert_eq!(ancient.fields.paths(), [".f0", ".f1", ".f2"]);
    assert_eq!(ancient.time, Some(Time::from_unix(2)));
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let last = r#"{\"spec\":{\"replicas\":1,\"paused\":true}}"#;
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut story = Story::new();
    story.apply("x", r#"{}"#, false).unwrap();
    story.update(
        "kubectl-client-side-apply",
        &format!(r#"{{"metadata":{{"annotations":{{"{annotation}":"{last}"}}}},"spec":{{"replicas":1,"paused":false}}}}"#),
    );
    let mut managed = Managed::default();
    managed.entries.push(ManagedEntry {
        manager: "kubectl-client-side-apply".into(),
        operation: Operation::Update,
        api_version: "v1".into(),
        subresource: String::new(),
        time: None,
        fields: FieldSet::of_fields(&[&["spec", "replicas"], &["spec", "paused"]]),
    });
    story.live.set_at(&["metadata", "managedFields"], managed.to_value());
    assert!(story.apply("other", r#"{"spec":{"replicas":2}}"#, false).is_err());
    // Changed since then by somebody: a conflict.
    assert!(story.apply("kubectl", r#"{"spec":{"paused":true}}"#, false).is_err());
    story.apply("kubectl", r#"{"spec":{"replicas":2}}"#, false).unwrap();
    assert_eq!(story.spec(), r#"{"replicas":2,"paused":false}"#);
    assert_eq!(story.live["metadata"]["annotations"][annotation], Value::from("{\"spec\":{\"replicas\":2}}\n"));
}

#[test]
fn configurations_must_fit_the_schema() {
    for (config, message) in [
        (r#"{"bogus":1}"#, ".bogus: field not declared in schema"),
        (r#"{"spec":{"replicas":"1"}}"#, ".spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:\"1\"}"),
        (r#"{"spec":{"ports":{}}}"#, ".spec.ports: expected list, got &value.valueUnstructured{Value:map[string]interface {}{}}"),
        (r#"{"spec":[]}"#, ".spec: expected map, got &value.valueUnstructured{Value:[]interface {}{}}"),
        (
            r#"{"spec":{"ports":[{"name":"x"}]}}"#,
            ".spec.ports: element 0: associative list with keys has an element that omits key field \"port\" (and doesn't have default value)",
        ),
        (r#"{"spec":{"ports":[{"port":1},{"port":1}]}}"#, ".spec.ports: duplicate entries for key [port=1,protocol=\"TCP\"]"),
    ] {
        let mut config = json(config);
        config.set_at(&["apiVersion"], "v1");
        config.set_at(&["kind"], "Thing");
        config.set_at(&["metadata", "name"], "n");
        let error = manager(&FieldSet::EMPTY).apply(&json("{}"), &config, "a", false).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to create typed patch object (/n; /v1, Kind=Thing): {message}"));
        assert_eq!(error.to_status().code, 500);
    }
    let error = manager(&FieldSet::EMPTY).apply(&json("{}"), &json(r#"{"metadata":{"managedFields":[{}]}}"#), "a", false).unwrap_err();
    assert_eq!(error.to_status().code, 400);
}

#[test]
fn lists_merge_in_the_order_of_the_configuration() {
    let numbers = |list: &[i64]| {
        let ports: Vec<String> = list.iter().map(|port| format!("{{\"port\":{port}}}")).collect();
        json(&format!("{{\"spec\":{{\"ports\":[{}]}}}}", ports.join(",")))
    };
    for (live, config, merged) in [
        (&[1, 2, 3][..], &[][..], &[1, 2, 3][..]),
        (&[], &[2, 1], &[2, 1]),
        (&[1, 2, 3], &[3, 1], &[2, 3, 1]),
        (&[1, 2, 3], &[4, 2], &[1, 4, 2, 3]),
        (&[1, 2], &[2, 3], &[1, 2, 3]),
    ] {
        assert_eq!(merge(&numbers(live), &numbers(config), thing()), numbers(merged), "{live:?} {config:?}");
    }
}

/// A custom resource about which nothing is declared.
struct Free;

impl CustomType for Free {
    fn shape(&self) -> Shape<'_> {
        Shape::Struct
    }

    fn field(&self, _: &str) -> Option<&dyn CustomType> {
        None
    }

    fn item(&self) -> Option<&dyn CustomType> {
        None
    }

    fn default(&self) -> Option<&Value> {
        None
    }

    fn preserves_unknown_fields(&self) -> bool {
        true
    }
}

#[test]
fn undeclared_members_of_custom_resources_are_owned_one_by_one() {
    let fields = field_set(&json(r#"{"free":{"a":[1],"b":{"c":1,"d":{}}},"x":null}"#), TypeRef::custom(&Free));
    assert_eq!(fields.paths(), [".free", ".x", ".free.a", ".free.b", ".free.b.c", ".free.b.d"]);
}

#[test]
fn deep_documents_fit_the_stack_of_a_worker_thread() {
    let deep = |depth: usize, leaf: &str| json(&format!("{}{leaf}{}", "{\"a\":".repeat(depth), "}".repeat(depth)));
    let (old, new) = (deep(499, "1"), deep(499, "2"));
    assert_eq!(compare(&old, &new, TypeRef::DEDUCED).modified.len(), 1);
    let merged = merge(&old, &new, TypeRef::DEDUCED);
    let fields = field_set(&merged, TypeRef::DEDUCED);
    assert_eq!(FieldSet::from_json(&fields.to_json()).unwrap(), fields);
    assert_eq!(remove(&merged, &fields, TypeRef::DEDUCED), Value::Null);
    let patch = crate::patch::strategic::create_two_way(&old, &new, TypeRef::DEDUCED).unwrap();
    assert_eq!(crate::patch::strategic::apply(old.clone(), patch, TypeRef::DEDUCED).unwrap(), new);
    let patch = crate::patch::merge::create(&old, &new).unwrap();
    assert_eq!(crate::patch::merge::apply(old, patch).unwrap(), new);
}

#[test]
fn sets_survive_their_encoding() {
    let text = r#"{"f:spec":{".":{},"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}},"f:set":{"v:\"a\"":{},"v:1":{}}},"f:x":{}}"#;
    let set = FieldSet::from_json(text.as_bytes()).unwrap();
    assert_eq!(set.to_value().to_string(), text.replace(r#""v:\"a\"":{},"v:1":{}"#, r#""v:1":{},"v:\"a\"":{}"#));
    assert_eq!(set.to_json(), set.to_value().to_vec());
    assert_eq!(FieldSet::from_value(&set.to_value()), set);
    assert_eq!(set.len(), 6);
}

fn any_set() -> impl Strategy<Value = FieldSet> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(prop::collection::vec(name(), 1..4), 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(path.into_iter().map(PathElement::field));
        }
        set
    })
}

fn any_spec() -> impl Strategy<Value = Value> {
    let port = (80..84i64, prop::option::of(prop::sample::select(vec!["a", "b"])));
    (prop::option::of(0..3i64), prop::option::of(prop::collection::vec(port, 1..4)), prop::option::of(any::<bool>())).prop_map(
        |(replicas, ports, paused)| {
            let mut object = Value::object();
            if let Some(replicas) = replicas {
                object.set_at(&["spec", "replicas"], replicas);
            }
            if let Some(paused) = paused {
                object.set_at(&["spec", "paused"], paused);
            }
            if let Some(mut ports) = ports {
                ports.sort();
                ports.dedup_by_key(|port| port.0);
                let ports = ports.into_iter().map(|(number, name)| {
                    let mut port = Value::object();
                    port.set_at(&["port"], number);
                    if let Some(name) = name {
                        port.set_at(&["name"], name);
                    }
                    port
                });
                object.set_at(&["spec", "ports"], ports.collect::<Vec<_>>());
            }
            object
        },
    )
}

proptest! {
    #[test]
    fn sets_are_sets(a in any_set(), b in any_set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.union(&b).len(), a.len() + b.len() - a.intersection(&b).len());
        prop_assert_eq!(FieldSet::from_value(&a.to_value()), a);
    }

    #[test]
    fn equal_objects_have_no_difference_and_unequal_ones_have(a in any_spec(), b in any_spec()) {
        prop_assert!(compare(&a, &a, thing()).is_same());
        prop_assert_eq!(compare(&a, &b, thing()).is_same(), a == b);
        let (there, back) = (compare(&a, &b, thing()), compare(&b, &a, thing()));
        prop_assert_eq!((there.added, there.modified), (back.removed, back.modified));
    }

    #[test]
    fn applying_leaves_what_the_configuration_says(live in any_spec(), first in any_spec(), second in any_spec()) {
        let none = FieldSet::EMPTY;
        let manager = manager(&none);
        let once = manager.apply(&live, &first, "a", true).unwrap();
        let twice = manager.apply(&once, &second, "a", true).unwrap();
        prop_assert!(compare(&merge(&twice, &second, thing()), &twice, thing()).is_same());
        prop_assert_eq!(manager.apply(&twice, &second, "a", false).unwrap(), twice);
    }
}
