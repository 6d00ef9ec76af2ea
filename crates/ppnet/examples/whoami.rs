//! An axum service that answers with the caller's address, on a TCP or a UNIX socket.
//!
//! `cargo run -p ppnet --features axum --example whoami [ADDR | unix:PATH]`, then
//! `curl --haproxy-protocol http://ADDR/`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use ppnet::tokio::{Listener, Socket};
use ppnet::{Address, Config, Endpoints, Policy, Trust};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let terms =
        |trust| Config::new(trust).on_refused(|peer, why| eprintln!("{peer} refused: {why}"));
    if let Some(path) = addr.strip_prefix("unix:") {
        // Whoever may open the path may say who the client is.
        serve(Listener::bind_unix(path, terms(Trust::unix(Policy::Require)))?).await
    } else {
        let trust = Trust::networks(["127.0.0.0/8", "::1"])?;
        serve(Listener::bind(addr, terms(trust)).await?).await
    }
}

async fn serve<L: Socket>(listener: Listener<L>) -> Result<(), Box<dyn Error>> {
    println!("listening {}", listener.local_addr()?);
    let app = Router::new().route("/", get(whoami::<L::Addr>));
    axum::serve(listener, app.into_make_service_with_connect_info::<Endpoints<L::Addr>>()).await?;
    Ok(())
}

async fn whoami<A: Address>(ConnectInfo(ends): ConnectInfo<Endpoints<A>>) -> String {
    let (client, server) = (ends.peer_addr(), ends.local_addr());
    format!("you are {client}, and called {server} through {}\n", ends.socket_peer_addr())
}
