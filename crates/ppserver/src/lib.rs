//! A layer-4 proxy: PROXY protocol in, payload relayed, PROXY protocol out.

pub mod cli;
