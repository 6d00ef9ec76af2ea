//! An axum service that answers with the caller's address.
//!
//! `cargo run -p ppnet --features axum --example whoami [ADDR]`, then
//! `curl --haproxy-protocol http://ADDR/`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use ppnet::tokio::Listener;
use ppnet::{Config, Endpoints, Trust};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let config = Config::new(Trust::networks(["127.0.0.0/8", "::1"])?)
        .on_refused(|peer, reason| eprintln!("{peer} refused: {reason}"));
    let listener = Listener::bind(addr, config).await?;
    println!("listening {}", listener.local_addr()?);
    let app = Router::new().route("/", get(whoami));
    axum::serve(listener, app.into_make_service_with_connect_info::<Endpoints>()).await?;
    Ok(())
}

async fn whoami(ConnectInfo(ends): ConnectInfo<Endpoints>) -> String {
    let (client, server) = (ends.peer_addr(), ends.local_addr());
    format!("you are {client}, and called {server} through {}\n", ends.socket_peer_addr())
}
