//! `kubectl set image|env|resources|serviceaccount`. Upstream: `kubectl/pkg/cmd/set`.

use apimachinery::Value;

use super::create::object_of;
use super::mutate::{each, pod_spec_path};
use crate::context::{Context, Outcome, outln, refuse};
use crate::failure::Failure;
use crate::resources::{Ask, Target};

fn ask(ctx: &Context, names: &[String]) -> Result<Ask, Failure> {
    refuse(&ctx.line, &["kustomize"])?;
    let ask = Ask { args: names.to_vec(), ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        return Err(Failure::usage("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    Ok(ask)
}

/// The words that name objects, and the `key=value` words behind them.
fn split(args: &[String], removals: bool) -> (Vec<String>, Vec<String>) {
    let is_pair = |word: &String| word.contains('=') || (removals && word.ends_with('-'));
    args.iter().cloned().partition(|word| !is_pair(word))
}

fn spec<'a>(target: &Target, object: &'a mut Value) -> Result<&'a mut Value, Failure> {
    let path = pod_spec_path(&target.resource.kind);
    let missing = || Failure::text(format!("the object is not a pod or does not have a pod template: {}", target.full_name()));
    object.at_mut(path.ok_or_else(missing)?).ok_or_else(missing)
}

fn containers<'a>(spec: &'a mut Value, lists: &'a [&str], pattern: &'a str) -> Vec<&'a mut Value> {
    let Some(spec) = spec.as_object_mut() else { return Vec::new() };
    let all = spec.iter_mut().filter(|(key, _)| lists.contains(key)).flat_map(|(_, list)| list.as_array_mut().into_iter().flatten());
    all.filter(|container| wildcard(pattern, container.str_at(&["name"]).unwrap_or_default())).collect()
}

/// `*` stands for anything.
fn wildcard(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => match name.strip_prefix(head) {
            None => false,
            Some(rest) => (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| wildcard(tail, &rest[at..])),
        },
    }
}

pub async fn image(ctx: &Context) -> Outcome {
    let (names, pairs) = split(&ctx.line.args, false);
    let ask = ask(ctx, &names)?;
    if pairs.is_empty() {
        return Err(Failure::usage("at least one image update is required"));
    }
    each(ctx, &ask, |target, object| {
        let spec = spec(target, object)?;
        for pair in &pairs {
            let (container, image) = pair.split_once('=').unwrap_or((pair, ""));
            let found = containers(spec, &["containers", "initContainers"], container);
            if found.is_empty() && container != "*" {
                return Err(Failure::text(format!("unable to find container named {container:?}")));
            }
            for container in found {
                container.set_at(&["image"], image);
            }
        }
        Ok((object != target.value()).then(|| "image updated".to_string()))
    })
    .await
}

pub async fn resources(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let ask = ask(ctx, &line.args)?;
    if !line.changed("limits") && !line.changed("requests") {
        return Err(Failure::usage("you must specify an update to requests or limits (in the form of --requests/--limits)"));
    }
    let mut amounts = Vec::new();
    for what in ["limits", "requests"] {
        for pair in line.text(what).split(',').filter(|pair| !pair.is_empty()) {
            let (name, amount) = pair
                .split_once('=')
                .ok_or_else(|| Failure::text(format!("Invalid argument syntax {pair}, expected <resource>=<value>")))?;
            amount.parse::<apimachinery::Quantity>().map_err(|err| Failure::text(format!("{pair}: {err}")))?;
            amounts.push((what, name.to_string(), amount.to_string()));
        }
    }
    let pattern = line.text("containers").to_string();
    each(ctx, &ask, |target, object| {
        let found = containers(spec(target, object)?, &["containers"], &pattern);
        if found.is_empty() {
            return Err(Failure::text(format!("unable to find container named {pattern}")));
        }
        for container in found {
            for (what, name, amount) in &amounts {
                container.set_at(&["resources", what, name], amount.clone());
            }
        }
        Ok((object != target.value()).then(|| "resource requirements updated".to_string()))
    })
    .await
}

pub async fn service_account(ctx: &Context) -> Outcome {
    let Some((account, names)) = ctx.line.args.split_last() else { return Err(Failure::usage("serviceaccount is required")) };
    let ask = ask(ctx, names)?;
    each(ctx, &ask, |target, object| {
        let spec = spec(target, object)?;
        spec.set_at(&["serviceAccountName"], account.clone());
        spec.remove_at(&["serviceAccount"]);
        Ok((object != target.value()).then(|| "serviceaccount updated".to_string()))
    })
    .await
}

pub async fn env(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["resolve"])?;
    let (names, mut pairs) = split(&line.args, true);
    pairs.extend(line.array("env"));
    let ask = ask(ctx, &names)?;
    let pattern = line.text("containers").to_string();
    let mut entries = Vec::new();
    let mut removed = Vec::new();
    for pair in &pairs {
        match pair.split_once('=') {
            Some((name, value)) => entries.push(object_of([("name", name.into()), ("value", value.into())])),
            None => removed.push(pair.trim_end_matches('-').to_string()),
        }
    }
    if let Some(from) = line.text_opt("from") {
        entries.extend(entries_from(ctx, from).await?);
    }
    if entries.is_empty() && removed.is_empty() {
        if line.bool("list") {
            return list(ctx, &ask, &pattern).await;
        }
        return Err(Failure::usage("at least one environment variable must be provided"));
    }
    let overwrite = line.bool("overwrite");
    each(ctx, &ask, |target, object| {
        let found = containers(spec(target, object)?, &["containers", "initContainers"], &pattern);
        if found.is_empty() {
            return Err(Failure::text(format!("{} does not have any containers matching {pattern:?}", target.full_name())));
        }
        for container in found {
            let mut env = container.get("env").and_then(Value::as_array).unwrap_or_default().to_vec();
            for entry in &entries {
                let name = entry.str_at(&["name"]);
                match env.iter_mut().find(|old| old.str_at(&["name"]) == name) {
                    Some(old) if old == entry => {}
                    Some(_) if !overwrite => {
                        return Err(Failure::text(format!("'{}' already has a value, and --overwrite is false", name.unwrap_or_default())));
                    }
                    Some(old) => *old = entry.clone(),
                    None => env.push(entry.clone()),
                }
            }
            env.retain(|entry| !removed.iter().any(|name| entry.str_at(&["name"]) == Some(name)));
            match env.is_empty() {
                true => drop(container.remove_at(&["env"])),
                false => container.set_at(&["env"], Value::Array(env)),
            }
        }
        Ok((object != target.value()).then(|| "env updated".to_string()))
    })
    .await
}

/// Variables for each key of a ConfigMap or Secret: `--from=configmap/name`.
async fn entries_from(ctx: &Context, from: &str) -> Result<Vec<Value>, Failure> {
    let ask = Ask { args: vec![from.to_string()], ..Ask::default() };
    let (targets, mut failures) = ask.objects(ctx).await?;
    if !failures.is_empty() {
        return Err(failures.remove(0));
    }
    let mut entries = Vec::new();
    let keys = ctx.line.strings("keys");
    for target in targets {
        let reference = match target.resource.kind.as_str() {
            "ConfigMap" => "configMapKeyRef",
            "Secret" => "secretKeyRef",
            other => return Err(Failure::text(format!("unsupported resource specified in --from: {other}"))),
        };
        for (key, _) in target.value().get("data").and_then(Value::as_object).map(|data| data.sorted()).unwrap_or_default() {
            if !keys.is_empty() && !keys.iter().any(|wanted| wanted == key) {
                continue;
            }
            let letters = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
            let name = format!("{}{}", ctx.line.text("prefix"), letters.collect::<String>());
            let mut entry = object_of([("name", name.into())]);
            entry.set_at(&["valueFrom", reference, "key"], key);
            entry.set_at(&["valueFrom", reference, "name"], target.name.clone());
            entries.push(entry);
        }
    }
    Ok(entries)
}

async fn list(ctx: &Context, ask: &Ask, pattern: &str) -> Outcome {
    let (targets, failures) = ask.objects(ctx).await?;
    for target in targets {
        let mut object = target.value().clone();
        for container in containers(spec(&target, &mut object)?, &["containers", "initContainers"], pattern) {
            outln(&format!(
                "# {} {}, container {}",
                target.resource.resource,
                target.name,
                container.str_at(&["name"]).unwrap_or_default()
            ));
            for entry in container.get("env").and_then(Value::as_array).unwrap_or_default() {
                let name = entry.str_at(&["name"]).unwrap_or_default();
                match entry.get("valueFrom") {
                    None => outln(&format!("{name}={}", entry.str_at(&["value"]).unwrap_or_default())),
                    Some(source) => outln(&format!("# {name} from {}", crate::print::plain::go(source))),
                }
            }
        }
    }
    Failure::all(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in
            [("*", "a", true), ("a*", "abc", true), ("a*c", "abc", true), ("a", "ab", false), ("*b", "ab", true), ("*x*", "ab", false)]
        {
            assert_eq!(wildcard(pattern, name), expected, "{pattern} {name}");
        }
    }
}
