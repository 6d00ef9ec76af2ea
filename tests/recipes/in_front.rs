//! `nginx-haproxy-in-front`: each of them in front and each of them behind.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::common::wire::v2;
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, connect, internet, ran, succeeded};

const CLIENTS: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const CDN: &str = "198.51.100.9";

#[test]
fn haproxy_and_nginx_on_either_side_agree_on_who_the_client_is() {
    in_a_namespace(|| {
        let recipe = Recipe::named("nginx-haproxy-in-front");
        internet(&[&CLIENTS[..], &[CDN]].concat());
        let balancer = Host::with("balancer", &["10.0.0.2", "192.0.2.1", "2001:db8::1"]);
        let proxy = Host::with("proxy", &["10.0.0.10"]);
        let web = Host::with("web", &["10.0.0.20"]);
        let nginx = |host: &Host, port, file| {
            host.start(port, "nginx", &["-g", "daemon off;", "-c", &recipe.file(file)])
        };
        let haproxy = |host: &Host, port, file| {
            host.start(port, "haproxy", &["-db", "-f", &recipe.file(file)])
        };
        let _behind = (nginx(&web, 8080, "web-nginx.conf"), haproxy(&web, 8081, "web-haproxy.cfg"));
        let ours = proxy.ppserver(&recipe.file("ppserver.toml"));
        let _in_front = (haproxy(&balancer, 80, "haproxy.cfg"), nginx(&balancer, 81, "nginx.conf"));

        for (client, service) in CLIENTS.iter().zip(["192.0.2.1", "[2001:db8::1]"]) {
            // HAProxy in front and nginx behind, and the other way round.
            for port in [80, 81] {
                let url = format!("http://{service}:{port}/");
                assert_eq!(succeeded(&mut curl(client, &url)), format!("you are {client}\n"));
            }
        }
        let request = told(CDN, "192.0.2.1:82", "[2001:db8:7::7]:51820", "[2001:db8:cd::1]:443");
        assert_eq!(request, "you are 2001:db8:7::7\n", "an IPv6 client of an IPv4 address");

        // Nobody else says who he is: not to us, and not to who is behind us.
        for url in ["http://10.0.0.10:8001/", "http://10.0.0.10:8002/", "http://10.0.0.20:8081/"] {
            let refused = ran(curl(CLIENTS[0], url).arg("--haproxy-protocol"));
            assert!(!refused.status.success(), "{url}: {refused:?}");
        }
        ours.wait_for(&["refused", "untrusted", CLIENTS[0]]);
        let claimed = ["192.0.2.66:51820", "192.0.2.1:80"];
        let told = told(CLIENTS[0], "10.0.0.20:8080", claimed[0], claimed[1]);
        assert_eq!(told, "you are 203.0.113.7\n", "nginx answers, and believes the socket");
    });
}

fn curl(client: &str, url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "-sS", "--max-time", "10", "--interface", client, url]);
    curl
}

/// The answer to a request from one of our addresses behind a header of ours.
#[track_caller]
fn told(from: &str, to: &str, client: &str, service: &str) -> String {
    let [client, service] =
        [client, service].map(|addr| addr.parse::<SocketAddr>().expect("an address"));
    let mut stream = connect(from, to);
    let request = [&v2(client, service)[..], b"GET / HTTP/1.0\r\n\r\n"].concat();
    stream.write_all(&request).expect("it stands");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer.split("\r\n\r\n").nth(1).expect("it has a body").to_owned()
}
