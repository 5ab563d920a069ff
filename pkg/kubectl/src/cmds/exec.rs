//! `kubectl exec` and `kubectl attach`. Upstream: `kubectl/pkg/cmd/{exec,attach}`.

use apimachinery::Value;
use streaming::remotecommand::Options;

use crate::context::{Context, Outcome, errln, refuse};
use crate::failure::Failure;
use crate::{pods, remote};

pub async fn exec(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["filename"])?;
    let (pod, command) = match line.dash {
        Some(0) => return Err(Failure::usage("pod, type/name or --filename must be specified")),
        Some(1) => line.args.split_at(1),
        Some(_) => return Err(Failure::usage("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead")),
        None if line.args.len() > 1 => {
            return Err(Failure::usage("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"));
        }
        None => (line.args.as_slice(), &[][..]),
    };
    let Some(word) = pod.first() else { return Err(Failure::usage("pod, type/name or --filename must be specified")) };
    if command.is_empty() {
        return Err(Failure::usage("you must specify at least one command for the container"));
    }
    let pod = pods::pod_for(ctx, word).await?;
    refuse_ended(&pod, "exec into")?;
    let container = pods::container(&pod, line.text("container"), line.bool("quiet"))?;
    let options = wanted(ctx);
    let path = session_path(ctx, &pod, "exec", &container, options, command)?;
    let session = remote::session(ctx.client()?, &path, options).await?;
    remote::exit(remote::converse(session, options.tty).await?)
}

pub async fn attach(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let [word] = line.args.as_slice() else {
        return Err(Failure::usage("at least 1 argument is required for attach, and no more than one: POD or TYPE/NAME"));
    };
    let pod = pods::pod_for(ctx, word).await?;
    attach_to(ctx, &pod).await
}

/// Attaches to the container that the command line names.
pub async fn attach_to(ctx: &Context, pod: &Value) -> Outcome {
    let line = &ctx.line;
    refuse_ended(pod, "attach a container in")?;
    let container = pods::container(pod, line.text("container"), line.bool("quiet"))?;
    let mut options = wanted(ctx);
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let found = lists.iter().flat_map(|list| pod.at(&["spec", list]).and_then(Value::as_array).unwrap_or_default());
    let has_tty =
        found.filter(|item| item.str_at(&["name"]) == Some(&container)).any(|item| item.get("tty").and_then(Value::as_bool) == Some(true));
    if options.tty && !has_tty {
        errln(&format!("error: Unable to use a TTY - container {container} did not allocate one"));
        options.tty = false;
        options.stderr = true;
    } else if has_tty {
        options.tty |= !line.bool("tty") && options.stdin && remote::is_terminal();
    }
    let path = session_path(ctx, pod, "attach", &container, options, &[])?;
    if options.stdin && options.tty && !line.bool("quiet") {
        errln("If you don't see a command prompt, try pressing enter.");
    }
    let session = remote::session(ctx.client()?, &path, options).await?;
    remote::exit(remote::converse(session, options.tty).await?)
}

fn refuse_ended(pod: &Value, what: &str) -> Outcome {
    match pod.str_at(&["status", "phase"]) {
        Some(phase @ ("Succeeded" | "Failed")) => {
            Err(Failure::text(format!("cannot {what} a container in a completed pod; current phase is {phase}")))
        }
        _ => Ok(()),
    }
}

/// The streams that `-i` and `-t` ask for.
fn wanted(ctx: &Context) -> Options {
    let stdin = ctx.line.bool("stdin");
    let mut tty = ctx.line.bool("tty");
    if tty && !(stdin && remote::is_terminal()) {
        if stdin {
            errln("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        tty = tty && !stdin;
    }
    Options { stdin, stdout: true, stderr: !tty, tty }
}

/// Where the session is asked for.
pub fn session_path(
    ctx: &Context,
    pod: &Value,
    kind: &str,
    container: &str,
    options: Options,
    command: &[String],
) -> Result<String, Failure> {
    let (namespace, name) =
        (pod.str_at(&["metadata", "namespace"]).unwrap_or_default(), pod.str_at(&["metadata", "name"]).unwrap_or_default());
    let resource = apimachinery::gvk::GroupVersionResource::new("", "v1", "pods");
    let path = client::ResourcePath::new(resource, namespace).object(name, kind)?;
    let mut request = client::Request::get(path).query("container", container);
    for word in command {
        request = request.query("command", word.as_str());
    }
    for (name, on) in [("stdin", options.stdin), ("stdout", options.stdout), ("stderr", options.stderr), ("tty", options.tty)] {
        if on {
            request = request.query(name, "true");
        }
    }
    let _ = ctx;
    Ok(request.path_and_query())
}
