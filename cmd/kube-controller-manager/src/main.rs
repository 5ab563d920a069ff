//! kube-controller-manager: runs the control loops of `pkg/controller`, in one of several copies at a time.

mod options;
mod run;

use std::process::ExitCode;

use component_base::daemon::{self, Command};

fn main() -> ExitCode {
    let about = "The Kubernetes controller manager runs the control loops that move the cluster's state towards the desired state.";
    let command = Command::new(about, options::flags(), options::complete);
    daemon::main(command, run::run)
}
