//! `kubectl cordon|uncordon|drain|taint`. Upstream: `kubectl/pkg/cmd/{drain,taint}`, `kubectl/pkg/drain`.

use std::time::Duration;

use apimachinery::Value;
use client::{DeleteParams, ListParams, WriteParams};
use tokio::time::Instant;

use super::create::{object_of, skeleton};
use super::delete::until_gone;
use super::mutate::{each, send};
use crate::context::{Context, Outcome, errln, outln};
use crate::failure::Failure;
use crate::print::{DryRun, name_of};
use crate::resources::{Ask, Target, list_all};

/// How long a refused eviction waits, as upstream.
const EVICTION_PAUSE: Duration = Duration::from_secs(5);

fn ask(ctx: &Context) -> Result<Ask, Failure> {
    let line = &ctx.line;
    let selector = line.text_opt("selector").map(str::to_string);
    match (line.args.is_empty(), selector.is_some()) {
        (true, false) => return Err(Failure::usage(format!("USAGE: {} NODE [flags]", line.command))),
        (false, true) => return Err(Failure::usage("error: cannot specify both a node name and a --selector option")),
        _ => {}
    }
    // With a selector alone, the type goes without saying.
    let (args, default_type) = if selector.is_some() { (vec!["nodes".to_string()], None) } else { (line.args.clone(), Some("nodes")) };
    Ok(Ask { args, default_type, labels: selector, ..Ask::default() })
}

pub async fn cordon(ctx: &Context) -> Outcome {
    mark(ctx, true).await
}

pub async fn uncordon(ctx: &Context) -> Outcome {
    mark(ctx, false).await
}

async fn mark(ctx: &Context, on: bool) -> Outcome {
    let ask = ask(ctx)?;
    let (targets, mut failures) = ask.objects(ctx).await?;
    for target in targets {
        if let Err(failure) = mark_one(ctx, &target, on, DryRun::of(&ctx.line)?).await {
            failures.push(failure);
        }
    }
    Failure::all(failures)
}

async fn mark_one(ctx: &Context, target: &Target, on: bool, dry_run: DryRun) -> Outcome {
    let suffix = match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let word = if on { "cordoned" } else { "uncordoned" };
    let now = target.value().at(&["spec", "unschedulable"]).and_then(Value::as_bool).unwrap_or(false);
    if now == on {
        outln(&format!("{} already {word}{suffix}", name_of(target.value())));
        return Ok(());
    }
    let mut after = target.value().clone();
    match on {
        true => after.set_at(&["spec", "unschedulable"], true),
        false => drop(after.remove_at(&["spec", "unschedulable"])),
    }
    send(ctx, target, &after, dry_run).await?;
    outln(&format!("{} {word}{suffix}", name_of(&after)));
    Ok(())
}

pub async fn drain(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let ask = ask(ctx)?;
    let dry_run = DryRun::of(line)?;
    let (targets, failures) = ask.objects(ctx).await?;
    Failure::all(failures)?;
    for target in &targets {
        mark_one(ctx, target, true, dry_run).await?;
    }
    for target in &targets {
        drain_one(ctx, target, dry_run).await?;
        outln(&format!("{} drained", name_of(target.value())));
    }
    Ok(())
}

/// Why a pod is in the way of a drain, or only worth a word.
enum Verdict {
    Evict,
    Skip,
    SkipWarned(&'static str),
    EvictWarned(&'static str),
    Refuse(&'static str),
}

fn judge(ctx: &Context, pod: &Value) -> Verdict {
    let line = &ctx.line;
    if pod.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return Verdict::Skip;
    }
    let skip_after = line.int("skip-wait-for-delete-timeout");
    if skip_after > 0
        && let Some(since) = pod.str_at(&["metadata", "deletionTimestamp"]).and_then(crate::print::age::unix)
        && crate::print::age::now() - since > skip_after
    {
        return Verdict::Skip;
    }
    let ended = matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed"));
    let owners = pod.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
    if owner.and_then(|owner| owner.str_at(&["kind"])) == Some("DaemonSet") && !ended {
        return match line.bool("ignore-daemonsets") {
            true => Verdict::SkipWarned("ignoring DaemonSet-managed Pods"),
            false => Verdict::Refuse("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"),
        };
    }
    let volumes = pod.at(&["spec", "volumes"]).and_then(Value::as_array).unwrap_or_default();
    if !ended && volumes.iter().any(|volume| volume.get("emptyDir").is_some()) && !line.bool("delete-emptydir-data") {
        return Verdict::Refuse("cannot delete Pods with local storage (use --delete-emptydir-data to override)");
    }
    if owner.is_none() && !ended {
        return match line.bool("force") {
            true => Verdict::EvictWarned("deleting Pods that declare no controller"),
            false => Verdict::Refuse("cannot delete Pods that declare no controller (use --force to override)"),
        };
    }
    Verdict::Evict
}

async fn drain_one(ctx: &Context, node: &Target, dry_run: DryRun) -> Outcome {
    let line = &ctx.line;
    let pods = ctx.resource("pods").await?;
    let mut params = ListParams::default().fields(format!("spec.nodeName={}", node.name));
    params.label_selector = line.text_opt("pod-selector").map(str::to_string);
    let (found, _) = list_all(&ctx.api(&pods, "")?, params, &pods).await?;
    let (mut leaving, mut warned, mut refused): (Vec<Target>, Vec<(&str, String)>, Vec<(&str, String)>) = Default::default();
    for pod in found {
        let name = format!("{}/{}", pod.namespace, pod.name);
        match judge(ctx, pod.value()) {
            Verdict::Evict => leaving.push(pod),
            Verdict::Skip => {}
            Verdict::SkipWarned(why) => warned.push((why, name)),
            Verdict::EvictWarned(why) => {
                warned.push((why, name));
                leaving.push(pod);
            }
            Verdict::Refuse(why) => refused.push((why, name)),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::text(format!(
            "unable to drain node {:?} due to error: {}, continuing command...",
            node.name,
            grouped(&refused)
        )));
    }
    if !warned.is_empty() {
        errln(&format!("Warning: {}", grouped(&warned)));
    }
    if dry_run != DryRun::None {
        for pod in leaving {
            outln(&format!("evicting pod {}/{} (dry run)", pod.namespace, pod.name));
        }
        return Ok(());
    }
    let deadline = line.duration("timeout").filter(|limit| !limit.is_zero()).map(|limit| Instant::now() + limit);
    let gone = leaving.iter().map(|pod| evict(ctx, pod, deadline));
    let ended = futures_util::future::join_all(gone).await;
    Failure::all(ended.into_iter().filter_map(Result::err).collect())
}

/// `reason: a, b; other: c`.
fn grouped(list: &[(&str, String)]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (why, name) in list {
        match groups.iter_mut().find(|(known, _)| known == why) {
            Some((_, names)) => names.push(name),
            None => groups.push((why, vec![name])),
        }
    }
    groups.iter().map(|(why, names)| format!("{why}: {}", names.join(", "))).collect::<Vec<_>>().join("; ")
}

async fn evict(ctx: &Context, pod: &Target, deadline: Option<Instant>) -> Outcome {
    let line = &ctx.line;
    let api = pod.api(ctx)?;
    let grace = line.int("grace-period");
    let uid = pod.value().str_at(&["metadata", "uid"]).unwrap_or_default().to_string();
    loop {
        let answer = if line.bool("disable-eviction") {
            outln(&format!("deleting pod {}/{}", pod.namespace, pod.name));
            let params = DeleteParams { grace_period_seconds: (grace >= 0).then_some(grace), ..DeleteParams::default() };
            api.delete(&pod.name, &params).await
        } else {
            outln(&format!("evicting pod {}/{}", pod.namespace, pod.name));
            let mut eviction = skeleton("policy/v1", "Eviction", &pod.name);
            eviction.set_at(&["metadata", "namespace"], pod.namespace.clone());
            if grace >= 0 {
                eviction.set_at(&["deleteOptions"], object_of([("gracePeriodSeconds", grace.into())]));
            }
            api.create_subresource(&pod.name, "eviction", &eviction, &WriteParams::default()).await
        };
        match answer {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_too_many_requests() && deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                errln(&format!("error when evicting pods/{:?} -n {:?} (will retry after 5s): {error}", pod.name, pod.namespace));
                tokio::time::sleep(EVICTION_PAUSE).await;
            }
            Err(error) => {
                return Err(Failure::from(error).during(format!("error when evicting pods/{:?} -n {:?}", pod.name, pod.namespace)));
            }
        }
    }
    until_gone(ctx, pod, &uid, deadline).await?;
    outln(&format!("{} evicted", name_of(pod.value())));
    Ok(())
}

/// A word such as `key=value:NoSchedule`, `key:NoSchedule-`, `key-`.
#[derive(Clone, Debug, PartialEq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
    remove: bool,
}

fn parse_taint(word: &str) -> Result<Taint, Failure> {
    let wrong = || Failure::text(format!("invalid taint spec: {word}"));
    let (body, remove) = word.strip_suffix('-').map_or((word, false), |body| (body, true));
    let (pair, effect) = body.split_once(':').unwrap_or((body, ""));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() || (effect.is_empty() && !remove) {
        return Err(wrong());
    }
    if !effect.is_empty() && !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(Failure::text(format!("invalid taint effect: {effect}, unsupported taint effect")));
    }
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into(), remove })
}

pub async fn taint(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let args: Vec<String> = line.args.clone();
    let at = args.iter().position(|word| word.contains('=') || word.contains(':') || word.ends_with('-')).unwrap_or(args.len());
    let (names, words) = args.split_at(at);
    if names.is_empty() || !matches!(names[0].as_str(), "node" | "nodes" | "no") && !names[0].starts_with("node") {
        return Err(Failure::usage("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    if words.is_empty() {
        return Err(Failure::usage("at least one taint update is required"));
    }
    let taints: Vec<Taint> = words.iter().map(|word| parse_taint(word)).collect::<Result<_, _>>()?;
    let ask = Ask { args: names.to_vec(), ..Ask::of(ctx) };
    let done = if taints.iter().all(|taint| taint.remove) {
        "untainted"
    } else if taints.iter().any(|taint| taint.remove) {
        "modified"
    } else {
        "tainted"
    };
    each(ctx, &ask, |target, object| {
        let mut list = object.at(&["spec", "taints"]).and_then(Value::as_array).unwrap_or_default().to_vec();
        for taint in &taints {
            let fits = |known: &Value| {
                known.str_at(&["key"]) == Some(&taint.key) && (taint.effect.is_empty() || known.str_at(&["effect"]) == Some(&taint.effect))
            };
            if taint.remove {
                let before = list.len();
                list.retain(|known| !fits(known));
                if list.len() == before {
                    return Err(Failure::text(format!("taint {:?} not found", words_of(taint))));
                }
                continue;
            }
            if list.iter().any(fits) && !line.bool("overwrite") {
                return Err(Failure::text(format!(
                    "node {} already has {} taint(s) with same effect(s) and --overwrite is false",
                    target.name, taint.key
                )));
            }
            list.retain(|known| !fits(known));
            let mut entry = object_of([("effect", taint.effect.clone().into()), ("key", taint.key.clone().into())]);
            if !taint.value.is_empty() {
                entry.set_at(&["value"], taint.value.clone());
            }
            list.push(entry);
        }
        match list.is_empty() {
            true => drop(object.remove_at(&["spec", "taints"])),
            false => object.set_at(&["spec", "taints"], Value::Array(list)),
        }
        Ok(Some(done.to_string()))
    })
    .await
}

fn words_of(taint: &Taint) -> String {
    if taint.effect.is_empty() { taint.key.clone() } else { format!("{}:{}", taint.key, taint.effect) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints() {
        let of =
            |key: &str, value: &str, effect: &str, remove| Taint { key: key.into(), value: value.into(), effect: effect.into(), remove };
        for (word, expected) in [
            ("a=b:NoSchedule", Some(of("a", "b", "NoSchedule", false))),
            ("a:NoExecute", Some(of("a", "", "NoExecute", false))),
            ("a:NoExecute-", Some(of("a", "", "NoExecute", true))),
            ("a-", Some(of("a", "", "", true))),
            ("a=b", None),
            ("a=b:Never", None),
        ] {
            assert_eq!(parse_taint(word).ok(), expected, "{word}");
        }
    }
}
