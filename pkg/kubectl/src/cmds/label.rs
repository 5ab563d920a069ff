//! `kubectl label` and `kubectl annotate`. Upstream: `kubectl/pkg/cmd/{label,annotate}`.

use apimachinery::Value;

use super::mutate::{each, split_pairs};
use crate::context::{Context, Outcome, outln, refuse};
use crate::failure::Failure;
use crate::resources::Ask;

pub async fn label(ctx: &Context) -> Outcome {
    run(ctx, "labels", "label", "labeled", "unlabeled").await
}

pub async fn annotate(ctx: &Context) -> Outcome {
    run(ctx, "annotations", "annotation", "annotated", "annotated").await
}

/// What the words `key=value` and `key-` ask for.
fn changes(words: &[String], what: &str) -> Result<(Vec<(String, String)>, Vec<String>), Failure> {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for word in words {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => set.push((key.to_string(), value.to_string())),
            None if word.len() > 1 && word.ends_with('-') => remove.push(word[..word.len() - 1].to_string()),
            _ => return Err(Failure::text(format!("invalid {what} spec: {word}"))),
        }
    }
    if let Some((key, _)) = set.iter().find(|(key, _)| remove.contains(key)) {
        return Err(Failure::text(format!("cannot modify a {what} more than once: can not both modify and remove {key:?}")));
    }
    Ok((set, remove))
}

async fn run(ctx: &Context, field: &'static str, what: &'static str, done: &'static str, undone: &'static str) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize"])?;
    let (names, words) = split_pairs(&line.args);
    let ask = Ask { args: names, ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        return Err(Failure::usage("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    let (set, remove) = changes(&words, what)?;
    if set.is_empty() && remove.is_empty() {
        if line.bool("list") {
            return list(ctx, &ask, field).await;
        }
        return Err(Failure::usage(format!("at least one {what} update is required")));
    }
    each(ctx, &ask, |target, object| {
        for (key, value) in &set {
            let old = object.str_at(&["metadata", field, key]);
            if old.is_some_and(|old| old != value) && !line.bool("overwrite") {
                return Err(Failure::text(match what {
                    "label" => format!("'{key}' already has a value ({}), and --overwrite is false", old.unwrap_or_default()),
                    _ => format!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({})",
                        old.unwrap_or_default()
                    ),
                }));
            }
            object.set_at(&["metadata", field, key], value.clone());
        }
        for key in &remove {
            if object.remove_at(&["metadata", field, key]).is_none() {
                outln(&format!("{what} {key:?} not found."));
            }
        }
        if line.changed("resource-version") {
            object.set_at(&["metadata", "resourceVersion"], line.text("resource-version"));
        }
        let unchanged = object == target.value();
        Ok(Some(match (unchanged, set.is_empty()) {
            (true, _) if what == "label" => "not labeled".to_string(),
            (_, true) => undone.to_string(),
            _ => done.to_string(),
        }))
    })
    .await
}

async fn list(ctx: &Context, ask: &Ask, field: &str) -> Outcome {
    let (targets, failures) = ask.objects(ctx).await?;
    for target in targets {
        if let Some(pairs) = target.value().at(&["metadata", field]).and_then(Value::as_object) {
            for (key, value) in pairs.sorted() {
                outln(&format!("{key}={}", value.as_str().unwrap_or_default()));
            }
        }
    }
    Failure::all(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words: Vec<String> = ["pods", "a", "app=x", "tier-"].map(str::to_string).to_vec();
        let (names, pairs) = split_pairs(&words);
        assert_eq!(names, ["pods", "a"]);
        let (set, remove) = changes(&pairs, "label").unwrap();
        assert_eq!((set, remove), (vec![("app".to_string(), "x".to_string())], vec!["tier".to_string()]));
        assert!(changes(&["a=1".into(), "a-".into()], "label").is_err());
    }
}
