//! One suite over both engines, and what only the embedded one can be asked: crashes, full disks, group commit.

mod contract;
mod crash;
mod disk;
mod embedded;
mod etcd;
mod model;
