use super::*;

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn writes_what_go_writes() {
    for (text, written) in [
        (r#" { "b" : 1 , "a" : [ true , false , null , "x" ] } "#, r#"{"b":1,"a":[true,false,null,"x"]}"#),
        ("{}", "{}"),
        ("[]", "[]"),
        ("1.0", "1"),
        ("1.5e3", "1500"),
        ("-0.0", "-0"),
        ("-0", "0"),
        ("1e21", "1e+21"),
        ("123456789012345678901", "123456789012345680000"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854776000"),
        (r#""a<b>&c""#, r#""a\u003cb\u003e\u0026c""#),
        (r#""\u2028\u0001\u007f\b\f""#, "\"\\u2028\\u0001\u{7f}\\b\\f\""),
        (r#""\ud83d\ude00 \ud83d x""#, "\"😀 \u{fffd} x\""),
        (r#""\"\\\/\n""#, r#""\"\\/\n""#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
    ] {
        assert_eq!(parse(text).to_string(), written, "{text}");
    }
    assert_eq!(Value::parse(b"\"a\xff\xfeb\"").unwrap(), Value::from("a\u{fffd}\u{fffd}b"));
    assert_eq!(
        String::from_utf8(parse(r#"{"a":[],"b":{},"c":[1,{"d":2}]}"#).to_vec_indented("  ")).unwrap(),
        "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": 2\n    }\n  ]\n}"
    );
}

#[test]
fn refuses_in_the_words_of_go() {
    for (text, message) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("tru ", "invalid character ' ' in literal true (expecting 'e')"),
        ("-", "unexpected end of JSON input"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        (r#""\x""#, "invalid character 'x' in string escape code"),
        (r#""\u12x4""#, "invalid character 'x' in \\u hexadecimal character escape"),
        ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
    ] {
        assert_eq!(Value::parse(text.as_bytes()).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_deep_document_is_refused_and_a_legal_one_survives() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(Value::parse(nested(502).as_bytes()).unwrap_err().to_string(), "exceeded max depth");
    let deep = Value::parse(nested(500).as_bytes()).unwrap();
    assert_eq!(deep.clone(), deep);
    assert_eq!(deep.to_string(), nested(500));
}

#[test]
fn strict_reading_names_what_occurs_twice() {
    let parsed = Value::parse_strict(br#"{"spec":{"containers":[{},{"name":"a","name":"b"}]},"kind":"x","kind":"y"}"#).unwrap();
    assert_eq!(parsed.duplicates, ["spec.containers[1].name", "kind"]);
    assert_eq!(parsed.value.pointer("/spec/containers/1/name"), Some(&Value::from("b")));
}

#[test]
fn objects_stay_correct_when_they_grow() {
    let mut object = Object::new();
    for number in (0..200).rev() {
        object.insert(format!("k{number:03}"), number);
    }
    assert_eq!(object.len(), 200);
    assert_eq!(object.get("k123"), Some(&Value::Int(123)));
    assert_eq!(object.remove("k000"), Some(Value::Int(0)));
    object.retain(|_, value| value.as_i64().is_some_and(|number| number < 10));
    assert_eq!(object.keys().collect::<Vec<_>>().len(), 9);
    assert_eq!(object.get("k005"), Some(&Value::Int(5)));

    let many = format!("{{{}}}", (0..100).map(|n| format!("\"{}\":{n}", n % 70)).collect::<Vec<_>>().join(","));
    let parsed = Value::parse_strict(many.as_bytes()).unwrap();
    assert_eq!((parsed.value.as_object().unwrap().len(), parsed.duplicates.len()), (70, 30));
    assert_eq!(parsed.value["29"], Value::Int(99));
}

#[test]
fn equality_ignores_order_and_knows_number_kinds() {
    assert_eq!(parse(r#"{"a":1,"b":2}"#), parse(r#"{"b":2,"a":1}"#));
    assert_ne!(parse(r#"{"a":1,"b":2}"#), parse(r#"{"a":1,"c":2}"#));
    assert_ne!(parse("1"), parse("1.0"));
}

#[test]
fn finds_its_way() {
    let mut value = parse(r#"{"a":{"b/c":[1,{"~":2}]}}"#);
    assert_eq!(value.pointer("/a/b~1c/1/~0"), Some(&Value::Int(2)));
    assert_eq!(value.pointer("/a/b~1c/01"), None);
    assert_eq!(value.pointer(""), Some(&value));
    value.set_at(&["x", "y"], "z");
    assert_eq!(value.str_at(&["x", "y"]), Some("z"));
    assert_eq!(value.remove_at(&["x", "y"]), Some(Value::from("z")));
    assert_eq!(value["x"], Value::object());
}
