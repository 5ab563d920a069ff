use proptest::prelude::*;

use super::*;
use crate::schema::{Field, Schema, Type};
use crate::typed::TypeRef;
use crate::value::{Object, Value};

static PORT: Schema = Schema {
    name: "Port",
    full_name: "Port",
    atomic: false,
    fields: &[Field { json: "port", ty: Type::Int32, ..Field::BASE }, Field { json: "protocol", ty: Type::String, ..Field::BASE }],
};

static CONTAINER: Schema = Schema {
    name: "Container",
    full_name: "Container",
    atomic: false,
    fields: &[
        Field { json: "name", ty: Type::String, ..Field::BASE },
        Field { json: "image", ty: Type::String, ..Field::BASE },
        Field { json: "ports", ty: Type::List(&Type::Struct(&PORT)), patch_merge: true, patch_merge_key: "port", ..Field::BASE },
        Field { json: "args", ty: Type::List(&Type::String), ..Field::BASE },
    ],
};

static POD: Schema = Schema {
    name: "Pod",
    full_name: "Pod",
    atomic: false,
    fields: &[
        Field { json: "containers", ty: Type::List(&Type::Struct(&CONTAINER)), patch_merge: true, patch_merge_key: "name", ..Field::BASE },
        Field { json: "finalizers", ty: Type::List(&Type::String), patch_merge: true, ..Field::BASE },
        Field { json: "strategy", ty: Type::Map(&Type::String), patch_retain_keys: true, ..Field::BASE },
        Field { json: "labels", ty: Type::Map(&Type::String), ..Field::BASE },
        Field { json: "replicas", ty: Type::Int32, ..Field::BASE },
    ],
};

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pod() -> TypeRef<'static> {
    TypeRef::of(&POD)
}

#[test]
fn applies() {
    for (original, patch, result) in [
        // Merging and removing members.
        (r#"{"labels":{"a":"1","b":"2"}}"#, r#"{"labels":{"a":null,"c":"3"}}"#, r#"{"labels":{"b":"2","c":"3"}}"#),
        (r#"{"replicas":1}"#, r#"{"replicas":null,"labels":{"x":null}}"#, r#"{"labels":{}}"#),
        // Lists with a key: changed, added before what is there, deleted, replaced.
        (
            r#"{"containers":[{"name":"a","image":"1"}]}"#,
            r#"{"containers":[{"name":"a","image":"2"}]}"#,
            r#"{"containers":[{"name":"a","image":"2"}]}"#,
        ),
        (r#"{"containers":[{"name":"a"}]}"#, r#"{"containers":[{"name":"b"}]}"#, r#"{"containers":[{"name":"b"},{"name":"a"}]}"#),
        (
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"a","$patch":"delete"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
        ),
        (r#"{"containers":[{"name":"a"}]}"#, r#"{"containers":[{"$patch":"replace"},{"name":"z"}]}"#, r#"{"containers":[{"name":"z"}]}"#),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"b","image":"1"}]}"#,
            r#"{"containers":[{"name":"b","image":"1"},{"name":"a"}]}"#,
        ),
        (
            r#"{"containers":[{"name":"a","ports":[{"port":80,"protocol":"TCP"}]}]}"#,
            r#"{"containers":[{"name":"a","ports":[{"port":81}]}]}"#,
            r#"{"containers":[{"name":"a","ports":[{"port":81},{"port":80,"protocol":"TCP"}]}]}"#,
        ),
        (
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"n"}],"$setElementOrder/containers":[{"name":"n"},{"name":"b"},{"name":"a"}]}"#,
            r#"{"containers":[{"name":"n"},{"name":"b"},{"name":"a"}]}"#,
        ),
        // Items the order does not name keep their place among those it names.
        (
            r#"{"containers":[{"name":"x"},{"name":"a"},{"name":"b"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}"#,
            r#"{"containers":[{"name":"x"},{"name":"b"},{"name":"a"}]}"#,
        ),
        (
            r#"{"containers":[{"name":"d"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"c"},{"name":"d","$patch":"delete"}],"$setElementOrder/containers":[{"name":"a"},{"name":"c"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"c"}]}"#,
        ),
        // Lists of scalars.
        (r#"{"finalizers":["a","b"]}"#, r#"{"finalizers":["c","b"]}"#, r#"{"finalizers":["c","a","b"]}"#),
        (r#"{"finalizers":["a","b"]}"#, r#"{"$deleteFromPrimitiveList/finalizers":["a"]}"#, r#"{"finalizers":["b"]}"#),
        (
            r#"{"containers":[{"name":"a","args":["x"]}]}"#,
            r#"{"containers":[{"name":"a","args":["y"]}]}"#,
            r#"{"containers":[{"name":"a","args":["y"]}]}"#,
        ),
        // Directives on objects.
        (r#"{"strategy":{"type":"R","max":"1"}}"#, r#"{"strategy":{"$retainKeys":["type"],"type":"S"}}"#, r#"{"strategy":{"type":"S"}}"#),
        (r#"{"labels":{"a":"1"}}"#, r#"{"labels":{"$patch":"replace","b":"2"}}"#, r#"{"labels":{"b":"2"}}"#),
        (r#"{"labels":{"a":"1"}}"#, r#"{"labels":{"$patch":"delete"}}"#, r#"{"labels":{}}"#),
        // Directives that meet nothing leave no trace.
        (
            r#"{}"#,
            r#"{"containers":[{"name":"a","$retainKeys":["name"]},{"name":"b","$patch":"delete"}]}"#,
            r#"{"containers":[{"name":"a"}]}"#,
        ),
    ] {
        assert_eq!(apply(parse(original), parse(patch), pod()).unwrap().to_string(), result, "{patch}");
    }
}

#[test]
fn long_lists_merge_as_short_ones_do() {
    let items = |range: std::ops::Range<i64>, image: &str| -> Value {
        range.map(|number| Object::from_iter([("name", format!("n{number}")), ("image", image.to_owned())])).collect()
    };
    let mut original = Value::object();
    original.set_at(&["containers"], items(0..2000, "old"));
    let mut modified = original.clone();
    modified.set_at(&["containers"], items(1000..3000, "new"));
    let patch = create_two_way(&original, &modified, pod()).unwrap();
    assert_eq!(apply(original, patch, pod()).unwrap(), modified);
}

#[test]
fn refuses() {
    for (original, patch, message) in [
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"image":"nokey"}]}"#,
            "map: map[image:nokey] does not contain declared merge key: name",
        ),
        (r#"{}"#, r#"{"$patch":"bogus"}"#, "unknown patch type: bogus in map: map[$patch:bogus]"),
        (r#"{"strategy":{"a":"1"}}"#, r#"{"strategy":{"$retainKeys":["b"],"a":"2"}}"#, "invalid patch format of retainKeys"),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"name":"x"}],"$setElementOrder/containers":[{"name":"a"}]}"#,
            "The order in patch list:\n[map[name:x]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(apply(parse(original), parse(patch), pod()).unwrap_err().to_string(), message, "{patch}");
    }
}

#[test]
fn creates_what_kubectl_sends() {
    for (original, modified, patch) in [
        (r#"{"replicas":1}"#, r#"{"replicas":1}"#, "{}"),
        (r#"{"replicas":1,"labels":{"a":"1"}}"#, r#"{"replicas":2}"#, r#"{"labels":null,"replicas":2}"#),
        (
            r#"{"containers":[{"name":"a","image":"1"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"a","image":"2"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"image":"2","name":"a"},{"$patch":"delete","name":"b"}]}"#,
        ),
        (
            r#"{"finalizers":["a","b"]}"#,
            r#"{"finalizers":["b","c"]}"#,
            r#"{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["b","c"],"finalizers":["c"]}"#,
        ),
        (
            r#"{"strategy":{"type":"R","max":"1"}}"#,
            r#"{"strategy":{"type":"S"}}"#,
            r#"{"strategy":{"$retainKeys":["type"],"max":null,"type":"S"}}"#,
        ),
    ] {
        assert_eq!(create_two_way(&parse(original), &parse(modified), pod()).unwrap().to_string(), patch);
    }
}

#[test]
fn three_ways_keep_what_others_added() {
    let original = parse(r#"{"containers":[{"name":"a","image":"1"},{"name":"b"}],"labels":{"x":"1","y":"2"}}"#);
    let modified = parse(r#"{"containers":[{"name":"a","image":"2"}],"labels":{"x":"1"}}"#);
    let current = parse(
        r#"{"containers":[{"name":"a","image":"1","args":["q"]},{"name":"b"},{"name":"sidecar"}],"labels":{"x":"1","y":"2","z":"3"},"replicas":3}"#,
    );
    let patch = create_three_way(&original, &modified, &current, pod(), true).unwrap();
    assert_eq!(
        apply(current, patch, pod()).unwrap(),
        parse(r#"{"containers":[{"name":"a","image":"2","args":["q"]},{"name":"sidecar"}],"labels":{"x":"1","z":"3"},"replicas":3}"#)
    );
}

#[test]
fn three_ways_find_conflicts() {
    let original = parse(r#"{"replicas":1,"labels":{"a":"1"}}"#);
    let modified = parse(r#"{"replicas":2,"labels":{"a":"1"}}"#);
    let drifted = parse(r#"{"replicas":3,"labels":{"a":"1"}}"#);
    assert!(create_three_way(&original, &modified, &drifted, pod(), false).unwrap_err().to_string().contains("conflicts with changes"));
    let elsewhere = parse(r#"{"replicas":1,"labels":{"a":"2"}}"#);
    let modified = parse(r#"{"replicas":2}"#);
    let original = parse(r#"{"replicas":1}"#);
    assert!(create_three_way(&original, &modified, &elsewhere, pod(), false).is_ok());
}

/// Objects of the test type; lists have no item twice, as their keys demand.
fn any_pod() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let map = move || prop::collection::btree_map(word(), word(), 0..3);
    let port = move || prop::collection::btree_map(80..84i64, prop::option::of(word()), 0..3);
    let container = move || (prop::option::of(word()), prop::option::of(port()), prop::option::of(prop::collection::vec(word(), 0..3)));
    let containers = prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..4)
        .prop_shuffle()
        .prop_flat_map(move |names| (Just(names.clone()), prop::collection::vec(container(), names.len())));
    let finalizers = prop::sample::subsequence(vec!["x", "y", "z"], 0..3).prop_shuffle();
    (prop::option::of(containers), prop::option::of(finalizers), prop::option::of(map()), prop::option::of(map())).prop_map(
        |(containers, finalizers, strategy, labels)| {
            let mut pod = Object::new();
            if let Some((names, containers)) = containers {
                let items = names.into_iter().zip(containers).map(|(name, (image, ports, args))| {
                    let mut item = Object::from_iter([("name", name)]);
                    if let Some(image) = image {
                        item.insert("image", image);
                    }
                    if let Some(ports) = ports {
                        let ports = ports.into_iter().map(|(number, protocol)| {
                            let mut port = Object::from_iter([("port", number)]);
                            if let Some(protocol) = protocol {
                                port.insert("protocol", protocol);
                            }
                            Value::Object(port)
                        });
                        item.insert("ports", ports.collect::<Vec<_>>());
                    }
                    if let Some(args) = args {
                        item.insert("args", args);
                    }
                    Value::Object(item)
                });
                pod.insert("containers", items.collect::<Vec<_>>());
            }
            if let Some(finalizers) = finalizers {
                pod.insert("finalizers", finalizers);
            }
            for (key, map) in [("strategy", strategy), ("labels", labels)] {
                if let Some(map) = map {
                    pod.insert(key, Object::from_iter(map));
                }
            }
            pod.into()
        },
    )
}

proptest! {
    #[test]
    fn a_patch_made_leads_where_it_was_made_for(original in any_pod(), modified in any_pod()) {
        let patch = create_two_way(&original, &modified, pod()).unwrap();
        prop_assert_eq!(apply(original.clone(), patch.clone(), pod()).unwrap(), modified, "{}", patch);
    }

    #[test]
    fn applying_again_changes_nothing(original in any_pod(), modified in any_pod(), current in any_pod()) {
        let patch = create_three_way(&original, &modified, &current, pod(), true).unwrap();
        let applied = apply(current, patch, pod()).unwrap();
        let again = create_three_way(&modified, &modified, &applied, pod(), true).unwrap();
        prop_assert_eq!(apply(applied.clone(), again, pod()).unwrap(), applied);
    }
}
