//! Runs scenarios against a server.

use std::time::{Duration, Instant};

use apimachinery::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use futures_util::stream;

use super::compare::{self, Bindings};
use super::fill::{self, Answers};
use super::{Scenario, Step};
use crate::{Answer, Call, Target};

/// Headers whose presence and value are compared; the others are the server's own affair.
const HEADERS: &[&str] =
    &["Content-Type", "Warning", "Retry-After", "Allow", "WWW-Authenticate", "Location", "Vary", "Etag", "Cache-Control"];

/// How often a step that waits for an effect asks again.
const POLL: Duration = Duration::from_millis(50);

/// How well the answers agree with the recorded ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub steps: usize,
    /// The same status code and reason: accepted or refused alike.
    pub decisions: usize,
    /// All of it.
    pub same: usize,
}

/// Runs the scenarios, so many at a time, and returns the score with a line about each difference.
pub async fn replay(target: &Target, scenarios: &[Scenario], at_a_time: usize) -> (Score, Vec<String>) {
    let mut all = (Score::default(), Vec::new());
    // In the order of the file, however they end.
    let mut running = stream::iter(scenarios).map(|scenario| run(target, scenario)).buffered(at_a_time);
    while let Some((score, differences)) = running.next().await {
        all.0.steps += score.steps;
        all.0.decisions += score.decisions;
        all.0.same += score.same;
        all.1.extend(differences);
    }
    all
}

/// Runs one scenario.
async fn run(target: &Target, scenario: &Scenario) -> (Score, Vec<String>) {
    let (mut score, mut differences) = (Score::default(), Vec::new());
    let (mut answers, mut bindings) = (Answers::new(), Bindings::default());
    for step in &scenario.steps {
        let call = call(&step.line["req"], &answers);
        let milliseconds = |name: &str| Duration::from_millis(step.line[name].as_i64().unwrap_or(0).unsigned_abs());
        tokio::time::sleep(milliseconds("wait")).await;
        let deadline = Instant::now() + milliseconds("poll");
        let mut answer = target.send(&call).await;
        let mut verdict = judge(step, &answer, &mut bindings);
        while verdict.is_err() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            answer = target.send(&call).await;
            verdict = judge(step, &answer, &mut bindings);
        }
        if step.line["compare"].as_str() != Some("none") {
            score.steps += 1;
            score.decisions += usize::from(answer.as_ref().is_ok_and(|answer| decided_alike(step, answer).is_ok()));
            score.same += usize::from(verdict.is_ok());
            if let Err(difference) = verdict {
                differences.push(format!("{} {}\n    {difference}", step.id, step.line["note"].as_str().unwrap_or_default()));
            }
        }
        if let Ok(answer) = answer {
            answers.insert(step.name.clone(), answer);
        }
    }
    (score, differences)
}

/// The request of a step.
fn call(request: &Value, answers: &Answers) -> Call {
    let text = |value: &Value| fill::text(value, answers);
    let body = match (request.get("body"), request.get("raw"), request.get("base64")) {
        (Some(body), ..) => fill::body(body, answers).to_vec(),
        (_, Some(raw), _) => text(raw).into_bytes(),
        (.., Some(encoded)) => STANDARD.decode(encoded.as_str().unwrap_or_default()).expect("the recording's base64 is valid"),
        _ => Vec::new(),
    };
    let pairs = request["query"].as_array().unwrap_or_default().iter().map(|pair| (text(&pair[0]), text(&pair[1])));
    let headers = request["headers"].as_object().into_iter().flat_map(|headers| headers.iter());
    Call {
        method: text(&request["method"]),
        path: text(&request["path"]),
        query: pairs.collect(),
        headers: headers.map(|(name, value)| (name.to_owned(), text(value))).collect(),
        body,
    }
}

/// Status code and reason.
fn decided_alike(step: &Step, answer: &Answer) -> Result<(), String> {
    let wanted = &step.line["resp"];
    if wanted["status"].as_i64() != Some(answer.status.as_u16().into()) {
        let body = String::from_utf8_lossy(&answer.body);
        let (wanted_message, found) = (&wanted["body"]["message"], body.chars().take(400).collect::<String>());
        return Err(format!("status: wanted {} {wanted_message}, found {} {found}", wanted["status"], answer.status.as_u16()));
    }
    let reason = |body: &Value| (body["kind"].as_str() == Some("Status")).then(|| body["reason"].as_str().unwrap_or_default().to_owned());
    let (one, other) = (reason(&wanted["body"]), wanted.get("body").map(|_| answer.json()).and_then(|body| reason(&body)));
    if one == other { Ok(()) } else { Err(format!("reason: wanted {one:?}, found {other:?}")) }
}

/// Compares as much of an answer as the step asks for.
fn judge(step: &Step, answer: &Result<Answer, String>, bindings: &mut Bindings) -> Result<(), String> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    let wanted = &step.line["resp"];
    decided_alike(step, answer)?;
    let mode = step.line["compare"].as_str().unwrap_or_default();
    if mode == "status" || mode == "none" {
        return Ok(());
    }
    if let Some(body) = wanted.get("body") {
        match mode {
            "unordered" => compare::unordered(body, &answer.json())?,
            _ => bindings.json("", body, &answer.json())?,
        }
    }
    if let Some(events) = wanted["events"].as_array() {
        let found: Option<Vec<Value>> =
            answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| Value::parse(line).ok()).collect();
        bindings.json("events", &wanted["events"], &found.unwrap_or_default().into())?;
        debug_assert!(events.len() < 10_000, "a watch of the recording is short");
    }
    if let Some(text) = wanted["raw"].as_str() {
        let found = String::from_utf8_lossy(&answer.body);
        if !bindings.text(text, &found) {
            return Err(format!("text: {}", first_different_line(text, &found)));
        }
    }
    HEADERS.iter().try_for_each(|name| header(name, &wanted["headers"][*name], answer, mode, bindings))
}

fn header(name: &str, wanted: &Value, answer: &Answer, mode: &str, bindings: &mut Bindings) -> Result<(), String> {
    let found: Vec<&str> = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    let wanted: Vec<&str> = match wanted {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        Value::String(value) => vec![value],
        _ => Vec::new(),
    };
    let same =
        wanted.len() == found.len() && (mode == "unordered" || wanted.iter().zip(&found).all(|(one, other)| bindings.text(one, other)));
    if same { Ok(()) } else { Err(format!("header {name}: wanted {wanted:?}, found {found:?}")) }
}

fn first_different_line(wanted: &str, found: &str) -> String {
    let mut bindings = Bindings::default();
    let different = wanted.lines().zip(found.lines()).find(|(one, other)| !bindings.text(one, other));
    different.map_or_else(|| "one ends earlier".to_owned(), |(one, other)| format!("wanted {one:?}, found {other:?}"))
}
