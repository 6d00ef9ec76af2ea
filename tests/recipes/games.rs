//! `games`: players connect to us directly, and the server elsewhere is told who they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::common::deadline::PATIENCE;
use crate::common::wire::{SIGNATURE, v2};
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, connect, internet};

const PLAYERS: [(&str, &str); 2] =
    [("203.0.113.7", "192.0.2.1"), ("[2001:db8:7::7]", "[2001:db8::1]")];

#[test]
fn the_game_server_knows_players_over_tcp_and_udp_and_they_are_answered() {
    in_a_namespace(|| {
        let recipe = Recipe::named("games");
        internet(&["203.0.113.7", "2001:db8:7::7", "10.0.0.20"]);
        let host = Host::with("host", &["192.0.2.1", "2001:db8::1"]);
        let java = TcpListener::bind("10.0.0.20:25565").expect("it is free");
        let bedrock = UdpSocket::bind("10.0.0.20:19132").expect("it is free");
        bedrock.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let _ours = host.ppserver(&recipe.file("ppserver.toml"));
        for (player, service) in PLAYERS {
            let to: SocketAddr = format!("{service}:25565").parse().expect("an address");
            let mut stream = connect(player, &to.to_string());
            stream.write_all(b"hello").expect("it stands");
            let expected =
                [v2(stream.local_addr().expect("it is bound"), to), b"hello".to_vec()].concat();
            let (mut served, _) = java.accept().expect("it comes");
            let mut bytes = vec![0; expected.len()];
            served.read_exact(&mut bytes).expect("it comes");
            assert_eq!(bytes, expected);
        }
        for (player, service) in PLAYERS {
            let to: SocketAddr = format!("{service}:19132").parse().expect("an address");
            let socket = UdpSocket::bind(format!("{player}:0")).expect("it is ours");
            socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
            socket.connect(to).expect("it is routed");
            let mut header = v2(socket.local_addr().expect("it is bound"), to);
            // Of datagrams, and not of a stream.
            header[SIGNATURE.len() + 1] += 1;
            let mut buf = [0; 2048];
            // The header goes with the first one alone.
            for (said, front) in [(&b"first"[..], &header[..]), (&[7; 1400], b""), (b"third", b"")]
            {
                socket.send(said).expect("it is sent");
                let (len, peer) = bedrock.recv_from(&mut buf).expect("it comes");
                assert_eq!(buf[..len], [front, said].concat());
                bedrock.send_to(said, peer).expect("it is sent");
                let len = socket.recv(&mut buf).expect("it comes back");
                assert_eq!(buf[..len], *said);
            }
        }
    });
}
