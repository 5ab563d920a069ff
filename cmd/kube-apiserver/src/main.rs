//! kube-apiserver: the front door of a cluster, and the only one to its store.

use std::process::ExitCode;

use component_base::daemon;

fn main() -> ExitCode {
    daemon::main(kube_apiserver::options::command(), kube_apiserver::run)
}
