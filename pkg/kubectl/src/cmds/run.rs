//! `kubectl run`: one pod, started and left alone. Upstream: `kubectl/pkg/cmd/run`.

use apimachinery::Value;
use client::WriteParams;

use super::apply::with_last_applied;
use super::create::{object_of, skeleton};
use super::expose::pairs;
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;
use crate::flags::Line;
use crate::print::{DryRun, Printer};
use crate::resources::target_of;

/// What needs a session with the new pod, or more objects than it.
const NOT_YET: &[&str] = &[
    "attach",
    "stdin",
    "tty",
    "rm",
    "expose",
    "leave-stdin-open",
    "detach-keys",
    "pod-running-timeout",
    "overrides",
    "override-type",
    "filename",
    "kustomize",
    "recursive",
    "cascade",
    "force",
    "grace-period",
    "timeout",
    "wait",
    "quiet",
];

pub async fn run(ctx: &Context) -> Outcome {
    refuse(&ctx.line, NOT_YET)?;
    let pod = pod_for(&ctx.line)?;
    send_new(ctx, pod, &Printer::of(ctx)?, "created").await
}

fn pod_for(line: &Line) -> Result<Value, Failure> {
    let Some((name, words)) = line.args.split_first().filter(|_| line.dash != Some(0)) else {
        return Err(Failure::usage("NAME is required for run"));
    };
    let image = line.text_opt("image").ok_or_else(|| Failure::text("required flag(s) \"image\" not set"))?;
    let mut container = object_of([("image", image.into()), ("name", name.clone().into())]);
    if !words.is_empty() {
        container.set_at(&[if line.bool("command") { "command" } else { "args" }], words.to_vec());
    } else if line.bool("command") {
        return Err(Failure::usage("--command needs a command to run"));
    }
    let mut env = Vec::new();
    for pair in line.array("env") {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => env.push(object_of([("name", key.into()), ("value", value.into())])),
            _ => return Err(Failure::text(format!("invalid env: {pair}"))),
        }
    }
    if !env.is_empty() {
        container.set_at(&["env"], Value::Array(env));
    }
    if let Some(port) = line.text_opt("port") {
        let port: u16 = port.parse().map_err(|err| Failure::text(format!("invalid --port {port:?}: {err}")))?;
        container.set_at(&["ports"], vec![object_of([("containerPort", i64::from(port).into())])]);
    }
    if let Some(policy) = line.text_opt("image-pull-policy") {
        if !matches!(policy, "Always" | "IfNotPresent" | "Never") {
            return Err(Failure::usage(format!("invalid image pull policy: {policy}")));
        }
        container.set_at(&["imagePullPolicy"], policy);
    }
    if line.bool("privileged") {
        container.set_at(&["securityContext", "privileged"], true);
    }
    let restart = line.text("restart");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        return Err(Failure::usage(format!("invalid restart policy: {restart}")));
    }
    let mut pod = skeleton("v1", "Pod", name);
    let labels = match line.text_opt("labels") {
        Some(text) => pairs("labels", text)?,
        None => object_of([("run", name.clone().into())]),
    };
    pod.set_at(&["metadata", "labels"], labels);
    let annotations = line.array("annotations");
    if !annotations.is_empty() {
        pod.set_at(&["metadata", "annotations"], pairs("annotations", &annotations.join(","))?);
    }
    pod.set_at(&["spec", "containers"], vec![container]);
    pod.set_at(&["spec", "dnsPolicy"], "ClusterFirst");
    pod.set_at(&["spec", "restartPolicy"], restart);
    Ok(pod)
}

/// Creates an object of the command's own making and tells so in the command's word.
pub async fn send_new(ctx: &Context, object: Value, printer: &Printer, done: &str) -> Outcome {
    let object = if ctx.line.bool("save-config") { with_last_applied(&object) } else { object };
    if printer.dry_run == DryRun::Client {
        return printer.done(&object, done);
    }
    let target = target_of(ctx, String::new(), object).await?;
    let params = WriteParams {
        dry_run: printer.dry_run == DryRun::Server,
        field_manager: ctx.line.text("field-manager").to_string(),
        field_validation: String::new(),
    };
    let created = target.api(ctx)?.create(target.value(), &params).await?;
    printer.done(&created, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_what_the_flags_say() {
        let line = |text: &str| Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>()).unwrap();
        let pod = pod_for(&line("run web --image=busybox --env A=1 --restart=Never --command -- sleep 5")).unwrap();
        assert_eq!(
            crate::resources::text(&pod["spec"]["containers"]),
            r#"[{"image":"busybox","name":"web","command":["sleep","5"],"env":[{"name":"A","value":"1"}]}]"#
        );
        assert_eq!(pod.str_at(&["metadata", "labels", "run"]), Some("web"));
        assert!(pod_for(&line("run web")).is_err());
        assert!(pod_for(&line("run web --image=b --restart=x")).is_err());
    }
}
