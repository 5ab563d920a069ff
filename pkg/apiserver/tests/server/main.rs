//! The generic server in this process, over a store in memory, asked without sockets. Its kinds have the barest rules there can be.

mod harness;
mod reads;
mod watches;
mod writes;
