//! kube-scheduler: finds a node for each pod that has none, in one of several copies at a time.

mod options;
mod run;

use std::process::ExitCode;

use component_base::daemon::{self, Command};

fn main() -> ExitCode {
    let about = "The Kubernetes scheduler finds for each pod that has no node the one that fits it best, and binds the pod to it.";
    let command = Command::new(about, options::flags(), options::complete);
    daemon::main(command, run::run)
}
