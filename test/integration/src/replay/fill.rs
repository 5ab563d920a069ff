//! Placeholders and patches in recorded requests.

use std::collections::HashMap;

use apimachinery::Value;

use crate::Answer;

/// Answers of a scenario so far, by step name.
pub type Answers = HashMap<String, Answer>;

/// What `${step:what}` stands for: a value in the body, the whole body, or a header.
fn look_up(reference: &str, answers: &Answers) -> Value {
    let Some((step, what)) = reference.split_once(':') else { return Value::Null };
    let Some(answer) = answers.get(step) else { return Value::Null };
    if let Some(header) = what.strip_prefix('#') {
        return answer.headers.get(header).and_then(|value| value.to_str().ok()).into();
    }
    answer.json().pointer(what).cloned().unwrap_or_default()
}

/// A recorded text with its placeholders filled. One that is nothing but a placeholder keeps the type of its value.
fn fill_text(text: &str, answers: &Answers) -> Value {
    if let Some(reference) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && !reference.contains('}')
    {
        return look_up(reference, answers);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&plain(&look_up(reference, answers)));
        rest = after;
    }
    out.push_str(rest);
    Value::from(out)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text where only a text can stand: a path, a header.
pub fn text(value: &Value, answers: &Answers) -> String {
    value.as_str().map(|text| plain(&fill_text(text, answers))).unwrap_or_default()
}

/// A recorded body, filled and patched.
pub fn body(value: &Value, answers: &Answers) -> Value {
    match value {
        Value::String(text) => fill_text(text, answers),
        Value::Array(items) => items.iter().map(|item| body(item, answers)).collect(),
        Value::Object(members) if members.contains_key("$base") => {
            let mut filled = body(&value["$base"], answers);
            for operation in value["$patch"].as_array().unwrap_or_default() {
                let operation = body(operation, answers);
                let path = operation["path"].as_str().unwrap_or_default();
                let pointer: Vec<String> = path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
                patch(&mut filled, &pointer, &operation);
            }
            filled
        }
        Value::Object(members) => {
            let mut filled = Value::object();
            for (name, member) in members.iter() {
                filled.set_at(&[&plain(&fill_text(name, answers))], body(member, answers));
            }
            filled
        }
        other => other.clone(),
    }
}

/// One operation of a `$patch`: missing parents are made, removing nothing is no error.
fn patch(target: &mut Value, pointer: &[String], operation: &Value) {
    let removing = operation["op"].as_str() == Some("remove");
    let Some((first, rest)) = pointer.split_first() else {
        *target = operation["value"].clone();
        return;
    };
    if target.is_null() && !removing {
        *target = Value::object();
    }
    match target {
        Value::Object(members) => match (rest.is_empty(), removing) {
            (true, true) => drop(members.remove(first)),
            (true, false) => drop(members.insert(first.clone(), operation["value"].clone())),
            (false, true) => {
                if let Some(member) = members.get_mut(first) {
                    patch(member, rest, operation);
                }
            }
            (false, false) => patch(members.entry(first, Value::object), rest, operation),
        },
        Value::Array(items) => {
            let index = if first == "-" { items.len() } else { first.parse().unwrap_or(usize::MAX) };
            match (rest.is_empty(), removing) {
                (true, true) if index < items.len() => drop(items.remove(index)),
                (true, false) if operation["op"].as_str() == Some("replace") && index < items.len() => {
                    items[index] = operation["value"].clone();
                }
                (true, false) if index <= items.len() => items.insert(index, operation["value"].clone()),
                (false, _) if index < items.len() => patch(&mut items[index], rest, operation),
                _ => {}
            }
        }
        _ => {}
    }
}
