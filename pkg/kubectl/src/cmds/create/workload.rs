//! `create deployment|job|cronjob|namespace|serviceaccount|quota|priorityclass|poddisruptionbudget`.

use apimachinery::Value;

use super::{create_one, name_arg, object_of, required, skeleton};
use crate::context::{Context, Outcome};
use crate::failure::Failure;

pub async fn namespace(ctx: &Context) -> Outcome {
    create_one(ctx, skeleton("v1", "Namespace", &name_arg(ctx)?)).await
}

pub async fn service_account(ctx: &Context) -> Outcome {
    create_one(ctx, skeleton("v1", "ServiceAccount", &name_arg(ctx)?)).await
}

/// The words behind `--`.
fn command(ctx: &Context) -> Vec<String> {
    ctx.line.dash.map(|dash| ctx.line.args[dash..].to_vec()).unwrap_or_default()
}

/// A container's name from its image: `registry/path/name:tag`.
pub fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split(['@', ':']).next().unwrap_or(last);
    name.replace('_', "-").trim_matches('-').to_lowercase()
}

pub async fn deployment(ctx: &Context) -> Outcome {
    required(ctx, &["image"])?;
    let line = &ctx.line;
    let name = name_arg(ctx)?;
    let images = line.strings("image");
    let command = command(ctx);
    if images.len() > 1 && !command.is_empty() {
        return Err(Failure::text("cannot specify multiple --image options and command"));
    }
    let port = line.int("port");
    let containers = images.iter().map(|image| {
        let mut container = object_of([("image", image.clone().into()), ("name", container_name(image).into())]);
        if !command.is_empty() {
            container.set_at(&["command"], command.clone());
        }
        if port >= 0 {
            container.set_at(&["ports"], vec![object_of([("containerPort", port.into())])]);
        }
        container
    });
    let mut object = skeleton("apps/v1", "Deployment", &name);
    object.set_at(&["metadata", "labels", "app"], name.clone());
    object.set_at(&["spec", "replicas"], line.int("replicas"));
    object.set_at(&["spec", "selector", "matchLabels", "app"], name.clone());
    object.set_at(&["spec", "template", "metadata", "labels", "app"], name);
    object.set_at(&["spec", "template", "spec", "containers"], Value::Array(containers.collect()));
    create_one(ctx, object).await
}

fn job_template(image: &str, name: &str, command: Vec<String>, restart: &str) -> Value {
    let mut container = object_of([("image", image.into()), ("name", name.into())]);
    if !command.is_empty() {
        container.set_at(&["command"], command);
    }
    let mut spec = Value::object();
    spec.set_at(&["template", "spec", "containers"], vec![container]);
    spec.set_at(&["template", "spec", "restartPolicy"], restart);
    spec
}

pub async fn job(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let name = name_arg(ctx)?;
    let mut object = skeleton("batch/v1", "Job", &name);
    match (line.text_opt("image"), line.text_opt("from")) {
        (Some(image), None) => object.set_at(&["spec"], job_template(image, &name, command(ctx), "Never")),
        (None, Some(from)) => {
            let Some(cron) = from.strip_prefix("cronjob/").or(from.strip_prefix("cronjobs/")).or(from.strip_prefix("cj/")) else {
                return Err(Failure::text(format!("from must be an existing cronjob: {from}")));
            };
            let resource = ctx.resource("cronjobs.batch").await?;
            let cron = ctx.api(&resource, &ctx.namespace()?.0)?.get(cron, "").await?;
            let template = cron.at(&["spec", "jobTemplate"]).cloned().unwrap_or_default();
            object.set_at(&["spec"], template.get("spec").cloned().unwrap_or_default());
            for field in ["labels", "annotations"] {
                if let Some(value) = template.at(&["metadata", field]) {
                    object.set_at(&["metadata", field], value.clone());
                }
            }
            object.set_at(&["metadata", "annotations", "cronjob.kubernetes.io/instantiate"], "manual");
            let owner = object_of([
                ("apiVersion", "batch/v1".into()),
                ("kind", "CronJob".into()),
                ("name", cron.str_at(&["metadata", "name"]).into()),
                ("uid", cron.str_at(&["metadata", "uid"]).into()),
            ]);
            object.set_at(&["metadata", "ownerReferences"], vec![owner]);
        }
        _ => return Err(Failure::text("either --image or --from must be specified")),
    }
    create_one(ctx, object).await
}

pub async fn cron_job(ctx: &Context) -> Outcome {
    required(ctx, &["image", "schedule"])?;
    let line = &ctx.line;
    let name = name_arg(ctx)?;
    let mut object = skeleton("batch/v1", "CronJob", &name);
    let restart = line.text_opt("restart").unwrap_or("OnFailure");
    object.set_at(&["spec", "schedule"], line.text("schedule"));
    object.set_at(&["spec", "jobTemplate", "metadata", "name"], name.clone());
    object.set_at(&["spec", "jobTemplate", "spec"], job_template(line.text("image"), &name, command(ctx), restart));
    create_one(ctx, object).await
}

pub async fn quota(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let mut object = skeleton("v1", "ResourceQuota", &name_arg(ctx)?);
    object.set_at(&["spec"], Value::object());
    for pair in line.text("hard").split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Failure::text(format!("Invalid argument syntax {pair}, expected <resource>=<value>")))?;
        object.set_at(&["spec", "hard", key], value);
    }
    let scopes: Vec<String> = line.text("scopes").split(',').filter(|scope| !scope.is_empty()).map(str::to_string).collect();
    if !scopes.is_empty() {
        object.set_at(&["spec", "scopes"], scopes);
    }
    create_one(ctx, object).await
}

pub async fn priority_class(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let mut object = skeleton("scheduling.k8s.io/v1", "PriorityClass", &name_arg(ctx)?);
    object.set_at(&["value"], line.int("value"));
    object.set_at(&["globalDefault"], line.bool("global-default"));
    object.set_at(&["preemptionPolicy"], line.text("preemption-policy"));
    if let Some(text) = line.text_opt("description") {
        object.set_at(&["description"], text);
    }
    create_one(ctx, object).await
}

pub async fn pdb(ctx: &Context) -> Outcome {
    required(ctx, &["selector"])?;
    let line = &ctx.line;
    let mut object = skeleton("policy/v1", "PodDisruptionBudget", &name_arg(ctx)?);
    let amount = |text: &str| text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
    match (line.text_opt("min-available"), line.text_opt("max-unavailable")) {
        (Some(min), None) => object.set_at(&["spec", "minAvailable"], amount(min)),
        (None, Some(max)) => object.set_at(&["spec", "maxUnavailable"], amount(max)),
        (Some(_), Some(_)) => return Err(Failure::text("min-available and max-unavailable cannot be both specified")),
        (None, None) => return Err(Failure::text("one of min-available or max-unavailable must be specified")),
    }
    for pair in line.text("selector").split(',') {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Failure::text(format!("invalid selector: {pair}: only equality is understood here")))?;
        object.set_at(&["spec", "selector", "matchLabels", key.trim_end_matches('=')], value.trim_start_matches('='));
    }
    create_one(ctx, object).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_their_image() {
        for (image, name) in [("nginx", "nginx"), ("registry.k8s.io/pause:3.10", "pause"), ("a/b/my_app@sha256:12", "my-app")] {
            assert_eq!(container_name(image), name);
        }
    }
}
