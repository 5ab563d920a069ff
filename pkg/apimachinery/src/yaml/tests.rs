use super::*;
use crate::value::Value;

fn json(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn reads(yaml: &str, expected: &str) {
    match parse(yaml.as_bytes()) {
        Ok(value) => assert_eq!(value, json(expected), "{yaml}"),
        Err(error) => panic!("{yaml}: {error}"),
    }
}

#[test]
fn reads_yaml_1_1() {
    reads("", "null");
    reads("a: 1\nb: [x, 'y', \"z\"]\n", r#"{"a":1,"b":["x","y","z"]}"#);
    reads("a: yes\nb: off\nc: 'yes'\nd: ~\ne:\n", r#"{"a":true,"b":false,"c":"yes","d":null,"e":null}"#);
    reads("a: 0644\nb: 0o17\nc: 0x1F\nd: 1_000\ne: 0b11\nf: 08\n", r#"{"a":420,"b":15,"c":31,"d":1000,"e":3,"f":8.0}"#);
    reads(
        "a: 1.5\nb: 1e3\nc: .5\nd: 1.2.3\ne: 1:30\nf: -x\ng: 1e\n",
        r#"{"a":1.5,"b":1000.0,"c":0.5,"d":"1.2.3","e":"1:30","f":"-x","g":"1e"}"#,
    );
    reads("a: 2021-01-01\nb: 2021-01-01T00:00:00Z\n", r#"{"a":"2021-01-01","b":"2021-01-01T00:00:00Z"}"#);
    reads("1: a\ntrue: b\n", r#"{"1":"a","true":"b"}"#);
    reads("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#);
    reads("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\ne: *x\n", r#"{"a":{"b":1,"c":2},"d":{"c":3,"b":1},"e":{"b":1,"c":2}}"#);
    reads("a: !!str 1\nb: !!binary aGk=\nc: !!float 1\n", r#"{"a":"1","b":"hi","c":1.0}"#);
    reads("{\"a\": [1, {\"b\": \"c\"}]}", r#"{"a":[1,{"b":"c"}]}"#);
    reads("a: 1\n---\nb: 2\n", r#"{"a":1}"#);
}

#[test]
fn reads_several_documents() {
    let documents = parse_documents(b"---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap();
    assert_eq!(documents, [json(r#"{"a":1}"#), json(r#"{"b":2}"#)]);
}

#[test]
fn refuses_in_gos_words() {
    assert_eq!(parse(b"a: [").unwrap_err().to_string(), "yaml: line 1: did not find expected node content");
    assert_eq!(parse(b"a: [1").unwrap_err().to_string(), "yaml: line 1: did not find expected ',' or ']'");
    assert_eq!(parse(b"a: b: c").unwrap_err().to_string(), "yaml: line 1: mapping values are not allowed in this context");
    assert_eq!(parse(b"a: 'x").unwrap_err().to_string(), "yaml: line 1: found unexpected end of stream");
    assert_eq!(parse(b"a: 1\n\tb: 2\n").unwrap_err().to_string(), "yaml: line 1: found character that cannot start any token");
    assert_eq!(parse(b"a: *x\n").unwrap_err().to_string(), "yaml: unknown anchor 'x' referenced");
    let parsed = parse_strict(b"apiVersion: v1\nkind: A\nkind: B\n").unwrap();
    assert_eq!(parsed.value, json(r#"{"apiVersion":"v1","kind":"B"}"#));
    assert_eq!(parsed.into_unique().unwrap_err().to_string(), "yaml: unmarshal errors:\n  line 3: key \"kind\" already set in map");
    let bomb =
        (1..20).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}, *a{m}]\n", m = n - 1));
    assert_eq!(parse(bomb.as_bytes()).unwrap_err().to_string(), "yaml: document contains excessive aliasing");
    assert!(parse("[".repeat(5000).as_bytes()).is_err());
}

#[test]
fn writes_as_kubectl_does() {
    for (value, yaml) in [
        (r#"{"b":1,"a":{"y":[],"x":{}}}"#, "a:\n  x: {}\n  \"y\": []\nb: 1\n"),
        (r#"{"a":[1,{"b":2,"c":[3]},[4,5]]}"#, "a:\n- 1\n- b: 2\n  c:\n  - 3\n- - 4\n  - 5\n"),
        (r#"["a"]"#, "- a\n"),
        (r#""a""#, "a\n"),
        (r#"{}"#, "{}\n"),
        (
            r#"{"a":"true","b":"1","c":"","d":"null","e":"y","f":"1e3","g":"0x1"}"#,
            "a: \"true\"\nb: \"1\"\nc: \"\"\nd: \"null\"\ne: \"y\"\nf: \"1e3\"\ng: \"0x1\"\n",
        ),
        (r#"{"a":"2021-01-01T00:00:00Z"}"#, "a: \"2021-01-01T00:00:00Z\"\n"),
        (
            r#"{"a":"x: y","b":"a #b","c":"- a","d":"*","e":"it's","f":"@x","g":"a:b","h":"-a","i":"'q"}"#,
            "a: 'x: y'\nb: 'a #b'\nc: '- a'\nd: '*'\ne: it's\nf: '@x'\ng: a:b\nh: -a\ni: '''q'\n",
        ),
        (r#"{"a":" x","b":"x ","c":"a\tb","d":"a\u0001"}"#, "a: ' x'\nb: 'x '\nc: \"a\\tb\"\nd: \"a\\x01\"\n"),
        (r#"{"a":"x\ny\n","b":"x\ny","c":"x\n\n","d":"\n","e":" x\ny","f":"x \ny"}"#, "a: |\n  x\n  \"y\n"),
        (r#"{"a":1.5,"b":1.0,"c":1e21,"d":null,"e":true}"#, "a: 1.5\nb: 1\nc: 1e+21\nd: null\ne: true\n"),
        (r#"{"f:a":{".":{},"f:b":{},"k:{\"name\":\"c\"}":{}}}"#, "f:a:\n  .: {}\n  f:b: {}\n  k:{\"name\":\"c\"}: {}\n"),
        (r#"{"a10":1,"a9":2,"a":3,"B":4,"a-b":5}"#, "B: 4\na: 3\na-b: 5\na9: 2\na10: 1\n"),
    ] {
        if value.contains("\"x\\ny\\n\"") {
            let expected = "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |2+\n\ne: |2-\n   x\n  y\nf: \"x \\ny\"\n";
            assert_eq!(to_string(&json(value)), expected);
            continue;
        }
        assert_eq!(to_string(&json(value)), yaml, "{value}");
    }
}

#[test]
fn breaks_long_lines_as_kubectl_does() {
    let words = "This FlowSchema references the PriorityLevelConfiguration object named \"catch-all\" and it exists";
    let mut value = Value::object();
    value.set_at(&["status", "conditions"], vec![Value::Object([("message", words)].into_iter().collect())]);
    assert_eq!(
        to_string(&value),
        "status:\n  conditions:\n  - message: This FlowSchema references the PriorityLevelConfiguration object named\n      \"catch-all\" and it exists\n"
    );
}

#[test]
fn what_is_written_reads_back() {
    for text in [
        "a", "a: b", "- x", "'", "\"", "a\nb", "a\n", "\n", " a", "a ", "a\n b", "\t", "é\u{a0}", "<<", "1:20", "#", "x #y", "? a", "%a",
        "a\\b", "~", "=", "\u{feff}", "a\r\nb",
    ] {
        let long = format!("{text} {}", "word ".repeat(40));
        for text in [text, &long] {
            let mut value = Value::object();
            value.set_at(&["k", text], text);
            let yaml = to_string(&value);
            assert_eq!(parse(yaml.as_bytes()).unwrap_or_else(|error| panic!("{yaml}: {error}")), value, "{yaml}");
        }
    }
}
