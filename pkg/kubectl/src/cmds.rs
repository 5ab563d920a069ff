//! One module per command, and the list of them all.

pub mod api_resources;
pub mod apply;
pub mod auth;
pub mod config;
pub mod create;
pub mod delete;
pub mod describe;
pub mod exec;
pub mod explain;
pub mod expose;
pub mod get;
pub mod label;
pub mod logs;
pub mod mutate;
pub mod nodes;
pub mod patch;
pub mod port_forward;
pub mod replace;
pub mod rollout;
pub mod run;
pub mod scale;
pub mod set;
pub mod version;
pub mod wait;

use futures_util::future::LocalBoxFuture;

use crate::context::{Context, Outcome};
use crate::failure::Failure;
use crate::flags::Line;

/// A command that is built: its words and what runs it.
pub struct Command {
    pub words: &'static str,
    pub run: for<'a> fn(&'a Context) -> LocalBoxFuture<'a, Outcome>,
}

macro_rules! commands {
    ($($words:literal => $run:path,)*) => {
        &[$(Command { words: $words, run: |ctx| Box::pin($run(ctx)) },)*]
    };
}

/// Every command of this build. The others of upstream's are known by name and refused.
pub const ALL: &[Command] = commands! {
    "annotate" => label::annotate,
    "api-resources" => api_resources::run,
    "api-versions" => api_resources::versions,
    "apply" => apply::run,
    "attach" => exec::attach,
    "auth can-i" => auth::can_i,
    "auth whoami" => auth::whoami,
    "config current-context" => config::current_context,
    "config delete-cluster" => config::delete_cluster,
    "config delete-context" => config::delete_context,
    "config delete-user" => config::delete_user,
    "config get-clusters" => config::get_clusters,
    "config get-contexts" => config::get_contexts,
    "config get-users" => config::get_users,
    "config rename-context" => config::rename_context,
    "config set" => config::set,
    "config set-cluster" => config::set_cluster,
    "config set-context" => config::set_context,
    "config set-credentials" => config::set_credentials,
    "config unset" => config::unset,
    "config use-context" => config::use_context,
    "config view" => config::view,
    "cordon" => nodes::cordon,
    "create" => create::run,
    "create clusterrole" => create::cluster_role,
    "create clusterrolebinding" => create::cluster_role_binding,
    "create configmap" => create::configmap,
    "create cronjob" => create::cron_job,
    "create deployment" => create::deployment,
    "create ingress" => create::ingress,
    "create job" => create::job,
    "create namespace" => create::namespace,
    "create poddisruptionbudget" => create::pdb,
    "create priorityclass" => create::priority_class,
    "create quota" => create::quota,
    "create role" => create::role,
    "create rolebinding" => create::role_binding,
    "create secret docker-registry" => create::secret_docker_registry,
    "create secret generic" => create::secret_generic,
    "create secret tls" => create::secret_tls,
    "create service clusterip" => create::cluster_ip,
    "create service externalname" => create::external_name,
    "create service loadbalancer" => create::load_balancer,
    "create service nodeport" => create::node_port,
    "create serviceaccount" => create::service_account,
    "create token" => create::token,
    "delete" => delete::run,
    "describe" => describe::run,
    "drain" => nodes::drain,
    "exec" => exec::exec,
    "explain" => explain::run,
    "expose" => expose::run,
    "get" => get::run,
    "label" => label::label,
    "logs" => logs::run,
    "patch" => patch::run,
    "port-forward" => port_forward::run,
    "replace" => replace::run,
    "rollout history" => rollout::history,
    "rollout pause" => rollout::pause,
    "rollout restart" => rollout::restart,
    "rollout resume" => rollout::resume,
    "rollout status" => rollout::status,
    "rollout undo" => rollout::undo,
    "run" => run::run,
    "scale" => scale::run,
    "set env" => set::env,
    "set image" => set::image,
    "set resources" => set::resources,
    "set serviceaccount" => set::service_account,
    "taint" => nodes::taint,
    "uncordon" => nodes::uncordon,
    "version" => version::run,
    "wait" => wait::run,
};

/// Other names of commands, as upstream has them.
pub const ALIASES: &[(&str, &str)] = &[
    ("create ns", "create namespace"),
    ("create cm", "create configmap"),
    ("create deploy", "create deployment"),
    ("create cj", "create cronjob"),
    ("create ing", "create ingress"),
    ("create pdb", "create poddisruptionbudget"),
    ("create pc", "create priorityclass"),
    ("create resourcequota", "create quota"),
    ("create sa", "create serviceaccount"),
    ("create svc", "create service"),
    ("set sa", "set serviceaccount"),
    ("config use", "config use-context"),
    ("config rename", "config rename-context"),
];

pub fn find(words: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.words == words)
}

/// What `--validate` says in the server's words.
pub fn validation(line: &Line) -> Result<String, Failure> {
    Ok(match line.text("validate") {
        "" => String::new(),
        "true" | "strict" => "Strict".into(),
        "warn" => "Warn".into(),
        "false" | "ignore" => "Ignore".into(),
        other => {
            return Err(Failure::text(format!(
                "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_upstreams() {
        let known = (crate::flags::COMMANDS)();
        for command in ALL {
            assert!(known.contains(&command.words), "{}", command.words);
        }
        for (_, words) in ALIASES {
            assert!(known.contains(words), "{words}");
        }
    }
}
