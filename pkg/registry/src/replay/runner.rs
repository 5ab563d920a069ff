//! Runs recorded dry-run creates and patches through a strategy, without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::patch::json;
use apimachinery::status::StatusError;
use apimachinery::validation::field::ErrorList;
use apimachinery::wire::TypeInfo;
use apimachinery::{Object, Value};
use apiserver::objects::{Handler, Objects, Update};
use apiserver::request::{RequestContext, RequestInfo, User};
use apiserver::rest::{ErasedStrategy, ResourceDef, Serving};
use async_trait::async_trait;

/// A store with nothing in it.
pub struct NoObjects;

#[async_trait]
impl Objects for NoObjects {
    async fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        Ok(None)
    }
    async fn get_live(&self, _: &str, _: &str, _: &str, _: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        Ok(None)
    }
    async fn list(&self, _: &str, _: &str, _: &str) -> Result<Vec<Arc<dyn Object>>, StatusError> {
        Ok(Vec::new())
    }
    fn follow(&self, _: &str, _: &str, _: Handler) {}
    async fn create(&self, object: Box<dyn Object>) -> Result<Arc<dyn Object>, StatusError> {
        Ok(object.into())
    }
    async fn update(&self, _: &str, _: &str, _: &str, _: &str, _: Update<'_>) -> Result<Arc<dyn Object>, StatusError> {
        Err(StatusError::internal("there is nothing to update"))
    }
}

/// How well answers agree.
#[derive(Debug, Default)]
pub struct Score {
    pub cases: usize,
    /// Accepted or refused as upstream does.
    pub decisions: usize,
    /// All causes, word for word.
    pub causes: usize,
}

/// Where the recording is; none on machines that have none.
fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/replay");
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: no recording at {}", root.display());
    None
}

/// Replays every step of `mutate-GROUP.jsonl` about one kind. `None` where there is no recording.
///
/// `REPLAY_SHOW=Kind` prints what differs.
pub fn replay(group_file: &str, kind: &str, def: &ResourceDef) -> Option<Score> {
    let text = std::fs::read_to_string(folder()?.join(format!("mutate-{group_file}.jsonl"))).ok()?;
    let Serving::Stored(strategy) = &def.serving else { panic!("{kind} is not stored") };
    let info = def.versions.iter().map(|version| version.info()).find(|info| info.group.starts_with(group_file)).unwrap_or(def.hub);
    let show = std::env::var("REPLAY_SHOW").is_ok_and(|shown| shown == kind);
    let mut score = Score::default();
    let mut answers: BTreeMap<String, Value> = BTreeMap::new();
    let mut scenario = String::new();
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        let step = Value::parse(line.as_bytes()).expect("a line of the recording is JSON");
        if step["kind"].as_str() != Some(kind) {
            continue;
        }
        let id = step["id"].as_str().unwrap_or_default().to_owned();
        let current = step["scenario"].as_str().unwrap_or_default();
        if current != scenario {
            current.clone_into(&mut scenario);
            answers.clear();
        }
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(outcome) = run(def, info, strategy.as_ref(), &step, &answers) {
            let expected = causes_of(&step["resp"]["body"]);
            let refused = step["resp"]["status"].as_i64() == Some(422);
            score.cases += 1;
            score.decisions += usize::from(refused != outcome.is_empty());
            score.causes += usize::from(outcome == expected);
            if show && outcome != expected {
                for (sign, lines) in [("-", expected.difference(&outcome)), ("+", outcome.difference(&expected))] {
                    for line in lines {
                        if shown.insert(format!("{sign}{line}")) {
                            println!("{sign} {line}\n      {id} {}", step["note"].as_str().unwrap_or_default());
                        }
                    }
                }
            }
        }
        if step["resp"]["status"].as_i64().is_some_and(|code| code < 300) {
            answers.insert(name, unmask(&step["resp"]["body"]));
        }
    }
    println!("{kind}: {score:?}");
    Some(score)
}

/// What a strategy says to a recorded request; none if the request is not for it to judge.
fn run(
    def: &ResourceDef,
    info: TypeInfo,
    strategy: &dyn ErasedStrategy,
    step: &Value,
    answers: &BTreeMap<String, Value>,
) -> Option<BTreeSet<String>> {
    let status = step["resp"]["status"].as_i64()?;
    if !matches!(status, 200 | 201 | 422) || step["compare"].as_str().is_some_and(|compare| compare == "none") {
        return None;
    }
    let body = &step["resp"]["body"];
    if causes_of(body).iter().any(|cause| cause.starts_with("patch: ")) {
        return None;
    }
    let path = step["req"]["path"].as_str()?;
    let context = context(def, info, path);
    match step["req"]["method"].as_str()? {
        "POST" => {
            let sent = fill(&step["req"]["body"], answers).filter(|sent| sent["kind"].as_str() == Some(info.kind))?;
            let mut new = decode(def, info, strategy, &sent)?;
            if !context.info.namespace.is_empty() {
                new.metadata_mut().namespace.clone_from(&context.info.namespace);
            }
            if let Some(hooks) = &def.hooks
                && let Err(refused) = wait(hooks.begin_create(&context, new.as_mut()))
            {
                return Some(causes_of(&refused.to_value()));
            }
            strategy.prepare_for_create(&context, new.as_mut());
            Some(texts(&strategy.validate(&context, new.as_ref())))
        }
        "PATCH" if header(step, "Content-Type") == "application/json-patch+json" => {
            let stored = answers.iter().find(|(name, _)| !name.contains('.') && name.as_str() != "ns").map(|(_, body)| body)?;
            let patch = fill(&step["req"]["body"], answers)?;
            let changed = json::apply(stored.clone(), &patch).ok()?;
            let old = decode(def, info, strategy, stored)?;
            let mut new = decode(def, info, strategy, &changed)?;
            if let Some(hooks) = &def.hooks
                && let Err(refused) = wait(hooks.begin_update(&context, new.as_mut(), old.as_ref()))
            {
                return Some(causes_of(&refused.to_value()));
            }
            strategy.prepare_for_update(&context, new.as_mut(), old.as_ref());
            Some(texts(&strategy.validate_update(&context, new.as_ref(), old.as_ref())))
        }
        _ => None,
    }
}

/// Runs I/O that has nothing to wait for.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without threads").block_on(future)
}

fn header<'a>(step: &'a Value, name: &str) -> &'a str {
    step["req"]["headers"][name].as_str().unwrap_or_default()
}

/// A recorded body with what it takes from earlier answers; none if it takes something that is not at hand.
fn fill(body: &Value, answers: &BTreeMap<String, Value>) -> Option<Value> {
    if let Some(base) = body.get("$base") {
        let mut filled = fill(base, answers)?;
        for operation in body["$patch"].as_array().unwrap_or_default() {
            let pointer: Vec<String> =
                operation["path"].as_str()?.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
            apply(&mut filled, &pointer, operation);
        }
        return Some(filled);
    }
    let text = body.to_string();
    if !text.contains("${") {
        return Some(body.clone());
    }
    None
}

/// One operation of a `$patch`: missing parents are made, removing nothing is no error.
fn apply(target: &mut Value, pointer: &[String], operation: &Value) {
    let Some((first, rest)) = pointer.split_first() else { return };
    let removing = operation["op"].as_str() == Some("remove");
    if target.is_null() && !removing {
        *target = Value::object();
    }
    match target {
        Value::Object(members) => match (rest.is_empty(), removing) {
            (true, true) => drop(members.remove(first)),
            (true, false) => drop(members.insert(first.clone(), operation["value"].clone())),
            (false, true) => {
                if let Some(member) = members.get_mut(first) {
                    apply(member, rest, operation);
                }
            }
            (false, false) => apply(members.entry(first, Value::object), rest, operation),
        },
        Value::Array(items) => {
            let index = if first == "-" { items.len() } else { first.parse().unwrap_or(usize::MAX) };
            match (rest.is_empty(), removing) {
                (true, true) if index < items.len() => drop(items.remove(index)),
                (true, false) if operation["op"].as_str() == Some("replace") && index < items.len() => {
                    items[index] = operation["value"].clone()
                }
                (true, false) if index <= items.len() => items.insert(index, operation["value"].clone()),
                (false, _) if index < items.len() => apply(&mut items[index], rest, operation),
                _ => {}
            }
        }
        _ => {}
    }
}

fn decode(def: &ResourceDef, info: TypeInfo, strategy: &dyn ErasedStrategy, body: &Value) -> Option<Box<dyn Object>> {
    let (mut object, _) = (info.from_json)(&body.to_vec(), false).ok()?;
    if let Some(version) = def.versions.iter().find(|version| version.info().version == info.version && version.info().group == info.group)
    {
        version.default_object(object.as_mut());
        object = version.to_hub(object);
    }
    strategy.default_object(object.as_mut());
    Some(object)
}

fn context(def: &ResourceDef, info: TypeInfo, path: &str) -> RequestContext {
    let parts: Vec<_> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").and_then(|at| parts.get(at + 1)).copied().unwrap_or_default();
    let namespace = if def.resource == "namespaces" { "" } else { namespace };
    let request = RequestInfo {
        is_resource: true,
        path: path.to_owned(),
        group: info.group.to_owned(),
        version: info.version.to_owned(),
        namespace: namespace.to_owned(),
        resource: def.resource.to_owned(),
        ..RequestInfo::default()
    };
    let mut context = RequestContext::new(Arc::new(User::default()), Arc::new(request));
    context.dry_run = true;
    context
}

/// A recorded answer with values in place of the tokens that stand for times, addresses and ports.
fn unmask(body: &Value) -> Value {
    // Written JSON has these characters escaped.
    let mut text = body.to_string().replace("\\u003c", "<").replace("\\u003e", ">");
    text = text.replace("<time>", "2026-01-01T00:00:00Z").replace("<time.6>", "2026-01-01T00:00:00.000000Z");
    for number in 1..10 {
        text = text.replace(&format!("\"<port:{number}>\""), &format!("3000{number}"));
        text = text.replace(&format!("<ip:{number}>"), &format!("10.96.1.{number}"));
    }
    Value::parse(text.as_bytes()).expect("tokens stand inside of texts")
}

/// Of a message only the first line: what follows in some is a diff of Go structs.
fn texts(errors: &ErrorList) -> BTreeSet<String> {
    errors.iter().map(|error| first_line(&error.to_string())).collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn causes_of(body: &Value) -> BTreeSet<String> {
    let causes = body["details"]["causes"].as_array().unwrap_or_default().iter();
    causes
        .map(|cause| (cause["field"].as_str().unwrap_or("<nil>"), cause["message"].as_str().unwrap_or_default()))
        .map(|(field, message)| first_line(&format!("{field}: {message}")))
        .collect()
}
