//! `kubectl delete`. Upstream: `kubectl/pkg/cmd/delete`.

use std::time::Duration;

use client::{DeleteParams, Propagation, Request};

use crate::context::{Context, Outcome, errln, out, outln, refuse, warn};
use crate::failure::Failure;
use crate::flags::Line;
use crate::print::{DryRun, Format};
use crate::resources::{Ask, Target, Wanted, list_all, qualified_kind};

/// How often it is looked whether an object is gone.
const POLL: Duration = Duration::from_millis(100);

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize", "interactive"])?;
    if let Some(path) = line.text_opt("raw") {
        let body = ctx.client()?.fetch(Request::new(http::Method::DELETE, path)).await?;
        out(&String::from_utf8_lossy(&body));
        return Ok(());
    }
    let ask = Ask::of(ctx);
    if ask.files.is_empty() && ask.args.is_empty() {
        return Err(Failure::usage(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    let mut targets = Vec::new();
    let mut failures = Vec::new();
    for wanted in ask.resolve(ctx).await? {
        match wanted {
            Wanted::Object(target) => targets.push(target),
            Wanted::Collection { resource, namespace } => {
                let found = list_all(&ctx.api(&resource, &namespace)?, ask.list_params(), &resource).await;
                match found {
                    Ok((found, _)) => targets.extend(found),
                    Err(failure) => failures.push(failure),
                }
            }
        }
    }
    let by_selector = ask.all || ask.labels.is_some() || ask.fields.is_some();
    let dry_run = DryRun::of(line)?;
    let removed = remove(ctx, &targets, dry_run, line.bool("ignore-not-found") || by_selector).await;
    if targets.is_empty() && failures.is_empty() {
        outln("No resources found");
    }
    failures.extend(removed.err());
    Failure::all(failures)
}

/// What `--cascade`, `--force`, `--now` and `--grace-period` ask for.
pub fn delete_params(line: &Line, dry_run: DryRun) -> Result<DeleteParams, Failure> {
    let propagation = match line.text("cascade") {
        "background" | "true" | "" => Propagation::Background,
        "orphan" | "false" => Propagation::Orphan,
        "foreground" => Propagation::Foreground,
        other => {
            return Err(Failure::text(format!("invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\"")));
        }
    };
    let mut grace = line.int("grace-period");
    if line.bool("now") {
        if grace != -1 {
            return Err(Failure::text("--now and --grace-period cannot be specified together"));
        }
        grace = 1;
    }
    if grace == 0 && !line.bool("force") {
        // Upstream waits for the end then, with the least grace there is.
        grace = 1;
    }
    if grace < 0 && line.bool("force") {
        grace = 0;
    }
    if line.bool("force") && grace > 0 {
        return Err(Failure::text("--force and --grace-period greater than 0 cannot be specified together"));
    }
    Ok(DeleteParams {
        propagation: Some(propagation),
        grace_period_seconds: (grace >= 0).then_some(grace),
        dry_run: dry_run == DryRun::Server,
        ..DeleteParams::default()
    })
}

/// Deletes, tells, and waits until they are gone if that is asked for.
pub async fn remove(ctx: &Context, targets: &[Target], dry_run: DryRun, ignore_missing: bool) -> Outcome {
    let line = &ctx.line;
    let params = delete_params(line, dry_run)?;
    let force = line.bool("force");
    if force && params.grace_period_seconds == Some(0) && !targets.is_empty() {
        warn(
            "Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.",
        );
    }
    let format = Format::of(line)?;
    let names = match format {
        Format::Human => false,
        Format::Name => true,
        _ => return Err(Failure::text(format!("unexpected -o output mode: {}. We only support '-o name'", line.text("output")))),
    };
    let mut failures = Vec::new();
    let mut waiting: Vec<(&Target, String)> = Vec::new();
    for target in targets {
        let mut uid = String::new();
        if dry_run != DryRun::Client {
            match target.api(ctx)?.delete(&target.name, &params).await {
                Ok(answer) => {
                    let at = if answer.str_at(&["kind"]) == Some("Status") { &["details", "uid"] } else { &["metadata", "uid"] };
                    uid = answer.str_at(at).unwrap_or_default().to_string();
                }
                Err(error) if error.is_not_found() && ignore_missing => continue,
                Err(error) if !target.source.is_empty() => {
                    failures.push(Failure::from(error).during(format!("error when deleting {:?}", target.source)));
                    continue;
                }
                Err(error) => {
                    failures.push(error.into());
                    continue;
                }
            }
        }
        match names {
            true => outln(&target.full_name()),
            false => {
                let verb = if force && params.grace_period_seconds == Some(0) { "force deleted" } else { "deleted" };
                tell_deleted(target, verb, dry_run);
            }
        }
        waiting.push((target, uid));
    }
    if line.bool("wait") && dry_run == DryRun::None && !(force && params.grace_period_seconds == Some(0)) {
        let limit = line.duration("timeout").filter(|limit| !limit.is_zero());
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        for (target, uid) in waiting {
            if let Err(failure) = until_gone(ctx, target, &uid, deadline).await {
                failures.push(failure);
            }
        }
    }
    Failure::all(failures)
}

/// `deployment.apps "web" deleted from default namespace`.
pub fn tell_deleted(target: &Target, verb: &str, dry_run: DryRun) {
    let place = if target.namespace.is_empty() { String::new() } else { format!(" from {} namespace", target.namespace) };
    outln(&format!("{} {:?} {verb}{place}{}", qualified_kind(&target.resource), target.name, dry_run.suffix()));
}

/// Waits until the object is gone, or is another of the same name.
pub async fn until_gone(ctx: &Context, target: &Target, uid: &str, deadline: Option<tokio::time::Instant>) -> Outcome {
    let api = target.api(ctx)?;
    loop {
        match api.get(&target.name, "").await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_forbidden() => {
                errln(&format!("warning: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
            Ok(object) if !uid.is_empty() && object.str_at(&["metadata", "uid"]) != Some(uid) => return Ok(()),
            Ok(_) => {}
        }
        if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
            return Err(Failure::text(format!("timed out waiting for the condition on {}/{}", target.resource.resource, target.name)));
        }
        tokio::time::sleep(POLL).await;
    }
}
