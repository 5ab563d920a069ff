//! Bad input is refused as upstream refuses it: requests with code, reason, message and causes; kubeconfigs and flags with
//! the words.
//!
//! The rows are in `bad_input/*.jsonl`, one a line, each with the answer beside the question. A row of requests:
//! `why`, `send` (method and path), `type` and `body` (JSON) or `raw` (as it is), `headers`, and the answer: `code`, `reason`,
//! `message`, `causes` (reason and field). `contains` stands for a message that ends in the name of a Go type. Nothing a row asks for is carried out, so that rows are free of each other.

use std::path::Path;

use apimachinery::Value;
use client::kubeconfig::{Kubeconfig, Overrides};
use component_base::daemon::{Command, Parsed};
use ferrokube_integration::{Answer, Call, Target};

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| Value::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Fails with the rows as they would have to be for the test to pass: to be read, and put into the table only if upstream
/// says the same.
fn check(table: &str, given: impl Fn(&Value) -> Value) {
    let mut wrong = Vec::new();
    for row in rows(table) {
        let mut real = row.clone();
        for (name, value) in given(&row).as_object().expect("an answer has named parts").iter() {
            let part = row["contains"].as_str().filter(|_| name == "message" || name == "error");
            if !part.is_some_and(|part| value.as_str().is_some_and(|text| text.contains(part))) {
                real.set_at(&[name], value.clone());
            }
        }
        if real != row {
            wrong.push(real.to_string());
        }
    }
    assert!(wrong.is_empty(), "{} rows differ; found:\n{}", wrong.len(), wrong.join("\n"));
}

fn answer(parts: &[(&str, Value)]) -> Value {
    let mut value = Value::object();
    parts.iter().for_each(|(name, part)| value.set_at(&[name], part.clone()));
    value
}

#[test]
fn there_are_a_hundred_rows_and_more() {
    let tables = [REQUESTS, KUBECONFIGS, FLAGS].map(|table| rows(table).len());
    assert!(tables.iter().sum::<usize>() >= 100, "{tables:?}");
}

const REQUESTS: &str = include_str!("bad_input/requests.jsonl");

#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    let target = Target::start().await;
    // Pods are looked at only where their service account is; its controller does not run here.
    let account = Value::parse(br#"{"send":"POST /api/v1/namespaces/default/serviceaccounts","type":"application/json","body":{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}}"#);
    let made = target.send(&request(&account.expect("a row"))).await.expect("an answer").status.as_u16();
    assert!(matches!(made, 201 | 409), "{made}");
    let mut answers = Vec::new();
    for row in rows(REQUESTS) {
        let call = request(&row);
        answers.push((row["why"].clone(), target.send(&call).await.unwrap_or_else(|error| panic!("{row}: {error}"))));
    }
    target.stop().await;
    check(REQUESTS, |row| {
        let (_, answer) = answers.iter().find(|(why, _)| *why == row["why"]).expect("every row was sent");
        refusal(answer)
    });
}

fn request(row: &Value) -> Call {
    let (method, path) = row["send"].as_str().and_then(|send| send.split_once(' ')).expect("a method and a path");
    let mut headers: Vec<(String, String)> =
        row["type"].as_str().map(|value| ("Content-Type".to_owned(), value.to_owned())).into_iter().collect();
    for (name, value) in row["headers"].as_object().into_iter().flat_map(|headers| headers.iter()) {
        headers.push((name.to_owned(), value.as_str().unwrap_or_default().to_owned()));
    }
    let body = match (row.get("body"), row["raw"].as_str()) {
        (Some(body), _) => body.to_vec(),
        (None, raw) => raw.unwrap_or_default().as_bytes().to_vec(),
    };
    Call { method: method.to_owned(), path: path.to_owned(), query: Vec::new(), headers, body }
}

/// Code, reason, message and causes of an answer; the text where it is no Status.
fn refusal(given: &Answer) -> Value {
    let status = given.json();
    let code = ("code", Value::Int(given.status.as_u16().into()));
    if status["kind"].as_str() != Some("Status") {
        return answer(&[code, ("text", String::from_utf8_lossy(&given.body).into_owned().into())]);
    }
    let causes: Value = status["details"]["causes"]
        .as_array()
        .unwrap_or_default()
        .iter()
        .map(|cause| format!("{} {}", cause["reason"].as_str().unwrap_or_default(), cause["field"].as_str().unwrap_or_default()))
        .collect();
    answer(&[code, ("reason", status["reason"].clone()), ("message", status["message"].clone()), ("causes", causes)])
}

const KUBECONFIGS: &str = include_str!("bad_input/kubeconfigs.jsonl");

#[test]
fn kubeconfigs() {
    check(KUBECONFIGS, |row| {
        let context = row["context"].as_str().map(str::to_owned);
        let text = row["text"].as_str().unwrap_or_default();
        let made = Kubeconfig::parse(text.as_bytes(), Path::new("config"))
            .and_then(|file| file.resolve(&Overrides { context, ..Overrides::default() }))
            .map_err(|error| error.to_string())
            .and_then(|resolved| client::Client::new(&resolved.config).map_err(|error| error.to_string()));
        answer(&[("error", made.err().into())])
    });
}

const FLAGS: &str = include_str!("bad_input/flags.jsonl");

#[test]
fn flags() {
    check(FLAGS, |row| {
        let arguments: Vec<String> =
            row["flags"].as_array().unwrap_or_default().iter().map(|flag| flag.as_str().unwrap_or_default().to_owned()).collect();
        let problems = match row["program"].as_str() {
            Some("kube-apiserver") => problems(kube_apiserver::options::command(), arguments),
            Some("kubelet") => problems(kubelet::options::command(), arguments),
            Some("kube-proxy") => problems(Command::new("", proxy::options::flags(), proxy::options::complete), arguments),
            Some("kube-dns") => problems(Command::new("", dns::options::flags(), dns::options::complete), arguments),
            other => panic!("no such program: {other:?}"),
        };
        answer(&[("problems", problems.into_iter().map(Value::from).collect())])
    });
}

/// What a program says to a command line; nothing if it would run.
fn problems<C>(command: Command<C>, arguments: Vec<String>) -> Vec<String> {
    match command.parse(arguments) {
        Ok(Parsed::Run(..) | Parsed::Print(_)) => Vec::new(),
        Err(problems) => problems.iter().map(str::to_owned).collect(),
    }
}
