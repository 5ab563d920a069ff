//! `kubectl logs`. Upstream: `kubectl/pkg/cmd/logs`.

use apimachinery::Value;
use client::{ListParams, Request};
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use crate::context::{Context, Outcome, errln};
use crate::failure::Failure;
use crate::pods;
use crate::resources::{Ask, list_all};

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let selector = line.text_opt("selector");
    if line.changed("since") && line.changed("since-time") {
        return Err(Failure::text("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if line.int("tail") < -1 {
        return Err(Failure::text("--tail must be greater than or equal to -1"));
    }
    let mut container = line.text("container").to_string();
    let found: Vec<Value> = match (line.args.as_slice(), selector) {
        ([], None) => {
            return Err(Failure::usage(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command",
            ));
        }
        ([], Some(selector)) => {
            let pods = ctx.resource("pods").await?;
            let params = ListParams { label_selector: Some(selector.to_string()), ..ListParams::default() };
            let (found, _) = list_all(&ctx.api(&pods, &ctx.namespace()?.0)?, params, &pods).await?;
            found.into_iter().filter_map(|pod| pod.object).collect()
        }
        (_, Some(_)) => return Err(Failure::text("only a selector (-l) or a POD name is allowed")),
        ([word, rest @ ..], None) => {
            match rest {
                [] => {}
                [named] if container.is_empty() => container = named.clone(),
                _ => return Err(Failure::usage("only one of -c or an inline [CONTAINER] arg is allowed")),
            }
            let ask = Ask { args: vec![word.clone()], default_type: Some("pods"), ..Ask::default() };
            let (targets, mut failures) = ask.objects(ctx).await?;
            if !failures.is_empty() {
                return Err(failures.remove(0));
            }
            let Some(target) = targets.first() else { return Ok(()) };
            let mut all = pods::pods_of(ctx, target).await?;
            if all.is_empty() {
                return Err(Failure::text(format!("no pods found for {}", target.full_name())));
            }
            if !line.bool("all-pods") {
                if all.len() > 1 {
                    let first = all[0].str_at(&["metadata", "name"]).unwrap_or_default();
                    errln(&format!("Found {} pods, using pod/{first}", all.len()));
                }
                all.truncate(1);
            }
            all
        }
    };
    if found.is_empty() {
        errln(&format!("No resources found in {} namespace.", ctx.namespace()?.0));
        return Ok(());
    }
    let mut sources = Vec::new();
    for pod in &found {
        let name = pod.str_at(&["metadata", "name"]).unwrap_or_default().to_string();
        let chosen = match line.bool("all-containers") {
            true => pods::containers(pod, true).into_iter().map(str::to_string).collect(),
            false => vec![pods::container(pod, &container, false)?],
        };
        sources.extend(chosen.into_iter().map(|container| (pod, name.clone(), container)));
    }
    let follow = line.bool("follow");
    let most = usize::try_from(line.int("max-log-requests")).unwrap_or(0);
    if follow && sources.len() > most {
        return Err(Failure::text(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {most}, use --max-log-requests to increase the limit",
            sources.len()
        )));
    }
    let prefixed = line.bool("prefix") || (line.bool("all-pods") && !line.changed("prefix"));
    let mut reads = Vec::new();
    for (pod, name, container) in sources {
        let prefix = if prefixed { format!("[pod/{name}/{container}] ") } else { String::new() };
        let request = request(ctx, pod, &name, &container, selector.is_some())?;
        reads.push(print(ctx, request, prefix));
    }
    let mut failures = Vec::new();
    if follow {
        failures.extend(join_all(reads).await.into_iter().filter_map(Result::err));
    } else {
        for read in reads {
            failures.extend(read.await.err());
        }
    }
    if line.bool("ignore-errors") {
        for failure in failures.drain(..) {
            eprint!("{}", failure.report("logs").0);
        }
    }
    Failure::all(failures)
}

fn request(ctx: &Context, pod: &Value, name: &str, container: &str, selected: bool) -> Result<Request, Failure> {
    let line = &ctx.line;
    let namespace = pod.str_at(&["metadata", "namespace"]).unwrap_or_default();
    let resource = apimachinery::gvk::GroupVersionResource::new("", "v1", "pods");
    let mut request =
        Request::get(client::ResourcePath::new(resource, namespace).object(name, "log")?).query("container", container).no_timeout();
    for (flag, query) in [
        ("follow", "follow"),
        ("previous", "previous"),
        ("timestamps", "timestamps"),
        ("insecure-skip-tls-verify-backend", "insecureSkipTLSVerifyBackend"),
    ] {
        if line.bool(flag) {
            request = request.query(query, "true");
        }
    }
    // Of many pods, only the ends are of interest.
    let tail = if selected && !line.changed("tail") { 10 } else { line.int("tail") };
    if tail >= 0 {
        request = request.query("tailLines", tail.to_string());
    }
    if line.int("limit-bytes") > 0 {
        request = request.query("limitBytes", line.text("limit-bytes"));
    }
    if let Some(since) = line.duration("since").filter(|since| !since.is_zero()) {
        request = request.query("sinceSeconds", since.as_secs_f64().ceil().to_string());
    }
    if let Some(time) = line.text_opt("since-time") {
        request = request.query("sinceTime", time);
    }
    Ok(request)
}

async fn print(ctx: &Context, request: Request, prefix: String) -> Outcome {
    let mut body = ctx.client()?.send(request).await?.body;
    let mut stdout = tokio::io::stdout();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if prefix.is_empty() {
            if stdout.write_all(&chunk).await.is_err() || stdout.flush().await.is_err() {
                return Ok(());
            }
            continue;
        }
        rest.extend_from_slice(&chunk);
        let mut lines = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            lines.extend_from_slice(prefix.as_bytes());
            lines.extend(rest.drain(..=end));
        }
        if stdout.write_all(&lines).await.is_err() || stdout.flush().await.is_err() {
            return Ok(());
        }
    }
    if !rest.is_empty() {
        let last = [prefix.as_bytes(), &rest].concat();
        drop(stdout.write_all(&last).await);
        drop(stdout.flush().await);
    }
    Ok(())
}
