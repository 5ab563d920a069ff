//! kubeadm: makes the certificates and kubeconfig files of a control plane.
//!
//! Of upstream's commands there are `init phase certs`, `init phase kubeconfig` and `version`; the others are refused.
//! Upstream: cmd/kubeadm. Start reading at [`cli`].

mod certs;
mod cli;
mod kubeconfig;
mod network;
mod options;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args().skip(1).collect())
}
