//! `kubectl wait --for=condition=X|delete|create|jsonpath=...`. Upstream: `kubectl/pkg/cmd/wait`.

use std::time::Duration;

use apimachinery::Value;
use tokio::time::Instant;

use super::delete::until_gone;
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;
use crate::print::Printer;
use crate::print::jsonpath::{Template, relaxed};
use crate::print::plain;
use crate::resources::{Ask, Target, Wanted};

/// How often it is looked.
const POLL: Duration = Duration::from_millis(100);

enum Goal {
    Deleted,
    Created,
    Condition {
        name: String,
        status: String,
    },
    /// A value to be there, or to be this.
    Path {
        template: Template,
        value: Option<String>,
    },
}

fn goal(text: &str) -> Result<Goal, Failure> {
    let lower = text.to_lowercase();
    if lower == "delete" {
        return Ok(Goal::Deleted);
    }
    if lower == "create" {
        return Ok(Goal::Created);
    }
    if lower.starts_with("condition=") {
        let rest = &text["condition=".len()..];
        let (name, status) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(Goal::Condition { name: name.to_string(), status: status.to_string() });
    }
    if lower.starts_with("jsonpath=") {
        let rest = text["jsonpath=".len()..].trim_matches('\'');
        // The value is behind the closing brace: the path may have `==` in it.
        let (path, value) = match rest.rfind('}') {
            Some(end) => (&rest[..=end], rest[end + 1..].strip_prefix('=')),
            None => rest.split_once('=').map_or((rest, None), |(path, value)| (path, Some(value))),
        };
        let value = value.map(|value| value.trim_matches(['\'', '"']).to_string());
        if value.as_deref() == Some("") {
            return Err(Failure::text("jsonpath wait value cannot be empty"));
        }
        return Ok(Goal::Path { template: relaxed(path).map_err(Failure::text)?, value });
    }
    Err(Failure::text(format!("unrecognized condition: {text:?}")))
}

impl Goal {
    fn met(&self, object: &Value) -> bool {
        match self {
            Goal::Deleted => false,
            Goal::Created => true,
            Goal::Condition { name, status } => {
                let generation = object.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
                let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array).unwrap_or_default();
                conditions.iter().any(|condition| {
                    // A condition of an older generation tells nothing of this one.
                    let seen = condition.get("observedGeneration").or(object.at(&["status", "observedGeneration"])).and_then(Value::as_i64);
                    condition.str_at(&["type"]).is_some_and(|known| known.eq_ignore_ascii_case(name))
                        && condition.str_at(&["status"]).is_some_and(|known| known.eq_ignore_ascii_case(status))
                        && seen.is_none_or(|seen| seen >= generation)
                })
            }
            Goal::Path { template, value } => match template.find(object, true) {
                Ok(found) => match value {
                    None => !found.is_empty(),
                    Some(value) => found.len() == 1 && plain::text(found[0]) == *value,
                },
                Err(_) => false,
            },
        }
    }
}

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["local"])?;
    let goals: Vec<Goal> = line.array("for").iter().map(|text| goal(text)).collect::<Result<_, _>>()?;
    if goals.is_empty() {
        return Err(Failure::text("required flag(s) \"for\" not set"));
    }
    let printer = Printer::of(ctx)?;
    let ask = Ask { recursive: true, ..Ask::of(ctx) };
    // Negative is a week, as upstream; zero looks once.
    let limit = line.duration("timeout").unwrap_or(Duration::from_secs(7 * 24 * 3600));
    let deadline = Instant::now() + limit;
    let waits_for_creation = goals.iter().any(|goal| matches!(goal, Goal::Created));
    let mut targets: Vec<Target> = Vec::new();
    for wanted in ask.resolve(ctx).await? {
        match wanted {
            Wanted::Object(target) => targets.push(target),
            Wanted::Collection { resource, namespace } => loop {
                let api = ctx.api(&resource, &namespace)?;
                let (found, _) = crate::resources::list_all(&api, ask.list_params(), &resource).await?;
                if found.is_empty() && waits_for_creation && Instant::now() < deadline {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                targets.extend(found);
                break;
            },
        }
    }
    if targets.is_empty() {
        return Err(Failure::text("no matching resources found"));
    }
    let mut failures = Vec::new();
    for target in &targets {
        for goal in &goals {
            let done = wait_for(ctx, target, goal, deadline, &printer).await;
            failures.extend(done.err());
        }
    }
    Failure::all(failures)
}

async fn wait_for(ctx: &Context, target: &Target, goal: &Goal, deadline: Instant, printer: &Printer) -> Outcome {
    let api = target.api(ctx)?;
    if let Goal::Deleted = goal {
        let shown = match api.get(&target.name, "").await {
            Ok(object) => object,
            Err(error) if error.is_not_found() && target.source.is_empty() && target.object.is_none() => return Err(error.into()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let uid = shown.str_at(&["metadata", "uid"]).unwrap_or_default().to_string();
        until_gone(ctx, target, &uid, Some(deadline)).await?;
        return printer.done(&shown, "condition met");
    }
    loop {
        match api.get(&target.name, "").await {
            Ok(object) if goal.met(&object) => return printer.done(&object, "condition met"),
            Ok(_) => {}
            Err(error) if error.is_not_found() && matches!(goal, Goal::Created) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(Failure::text(format!("timed out waiting for the condition on {}/{}", target.resource.resource, target.name)));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals() {
        let object = Value::parse(
            br#"{"metadata":{"generation":2},"status":{"observedGeneration":2,"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"type":"Old","status":"True","observedGeneration":1}]}}"#,
        )
        .unwrap();
        for (text, expected) in [
            ("condition=Ready", true),
            ("condition=ready=false", false),
            ("condition=Old", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath={.status.nothing}", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("create", true),
        ] {
            assert_eq!(goal(text).unwrap().met(&object), expected, "{text}");
        }
        assert!(goal("nonsense").is_err());
    }
}
