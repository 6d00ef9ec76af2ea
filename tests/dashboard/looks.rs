//! How it looks and is reached: by day and night, on a desk and in a hand, by keyboard and by ear.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use crate::browser::{DESK, Look, Page};
use crate::common::far_end::FarEnd;
use crate::common::socket::Client;
use crate::served::{Served, echo, file, refused, session};

/// The narrowest screen there is.
const PHONE: Look = Look { scheme: "light", width: 360, height: 780 };

#[test]
fn nothing_overflows_in_a_hand_and_colours_follow_the_system() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    let _held = session(served.server.addr());
    refused(
        served.server.addr(),
        b"GET /a/long/path/that/has/no/end HTTP/1.1\r\nHost: web\r\n\r\n",
    );
    let mut page = Page::open(&served.url());
    page.wait_for_text("#refusals-list pre", "byte 0");
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        for look in [DESK, PHONE] {
            page.look(Look { scheme, ..look });
            let wide = page.eval(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth",
            );
            assert_eq!(wide, 0, "{look:?}");
            // WCAG 2.2, 1.4.3: text of this size has 4.5 to 1.
            let faint = page.eval(FAINT);
            assert_eq!(faint, json!([]), "{look:?}");
        }
        grounds.push(page.eval("getComputedStyle(document.documentElement).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1]);
}

/// The elements whose text has less than 4.5 to 1 before what is behind it.
const FAINT: &str = "(() => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = numbers(colour).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (numbers(colour)[3] !== 0) return colour;
        }
    };
    const isSeen = (node) => node.getClientRects().length > 0
        && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    return [...document.body.querySelectorAll('*')].filter(isSeen).filter((node) => {
        const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    }).map((node) => node.outerHTML.slice(0, 120));
})()";

#[test]
fn a_keyboard_reaches_everything_and_the_focus_is_seen() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    refused(served.server.addr(), b"hello, is it me?");
    let mut page = Page::open(&served.url());
    page.wait_for_text("#refusals-list pre", "hello");
    let focus = "(() => { const at = document.activeElement; \
        return at.id || at.textContent.trim().slice(0, 12); })()";
    let mut reached = Vec::new();
    let all = page.eval(
        "[...document.querySelectorAll('a, input, button, summary, pre')].filter(n => n.getClientRects().length).length",
    );
    for _ in 0..all.as_u64().expect("a count") {
        page.press("Tab", "");
        reached.push(page.eval(focus));
        let outline = page.eval("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(outline, "none", "{reached:?}");
    }
    let expected =
        ["Skip to the", "filter", "00000  68 65", "Reason", "Pool", "Endpoint", "Listener"];
    let mut at = reached.iter().filter_map(Value::as_str);
    for name in expected {
        assert!(at.any(|reached| reached.starts_with(name)), "{name} in its order: {reached:?}");
    }
    // Enter sorts, `/` goes to the filter, which is not written, and Escape leaves it empty.
    page.eval("document.querySelector('#listeners thead button').focus()");
    page.press("Enter", "\r");
    let sorted = page.eval("document.querySelector('#listeners th').getAttribute('aria-sort')");
    assert_eq!(sorted, "ascending");
    page.press("/", "/");
    page.write("nothing like it");
    assert_eq!(page.eval("document.activeElement.value"), "nothing like it");
    page.wait_for_text("#listeners .count", "0 of 1");
    page.press("Escape", "");
    assert_eq!(page.eval("document.getElementById('filter').value"), "");
    assert_eq!(page.text("#listeners .count"), "1");
}

#[test]
fn a_reader_of_screens_finds_landmarks_names_and_what_has_changed() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    let count = |page: &mut Page, selector: &str| {
        page.eval(&format!("document.querySelectorAll({}).length", json!(selector)))
    };
    for (selector, least) in [
        ("html[lang]", 1),
        ("header", 1),
        ("main", 1),
        ("footer", 1),
        ("h1", 1),
        ("#state[role=status]", 1),
        ("#attention[aria-live=polite]", 1),
        ("label[for=filter]", 1),
    ] {
        assert_eq!(count(&mut page, selector), least, "{selector}");
    }
    for (whole, named) in [
        ("section", "section:is([aria-label], [aria-labelledby])"),
        ("table", "table:has(> caption)"),
        ("thead th", "thead th[scope=col]"),
        ("tbody th", "tbody th[scope=row]"),
        ("svg", "svg[aria-hidden=true]"),
    ] {
        assert_eq!(count(&mut page, whole), count(&mut page, named), "{whole}");
    }
    // What counts up every two seconds is read to nobody.
    let live = "document.getElementById('facts').closest('[aria-live], [role=status]') === null";
    assert_eq!(page.eval(live), true);
}

/// Where the pictures for the docs go, if they are to be taken.
const PHOTOS: &str = "DASHBOARD_PHOTOS";

/// The largest picture, in bytes: who reads the docs waits for all of them. They vary by thousands with what is drawn.
const PHOTO_BYTES_MAX: usize = 200_000;

#[test]
fn photos_are_small_and_show_a_server_at_work() {
    let far_end = FarEnd::start();
    let served = Served::with(&at_work(far_end.addr()));
    let edge = served.server.addr();
    let mut page = Page::open(&served.url());
    page.look(Look { width: 1280, height: 1400, ..DESK });
    page.wait_for_text("#state-text", "Serving");
    let dir = env::var_os(PHOTOS);
    // For the docs, until the drawings are full.
    let points = if dir.is_some() { 60 } else { 2 };
    let mut held: Vec<TcpStream> = Vec::new();
    let mut work = |page: &mut Page, points: u64| {
        while page.eval("tiles.active.points.length").as_u64().expect("a count") < points {
            let turn = held.len();
            let mut session = session(edge);
            echo(&mut session, &vec![7; 20_000 + turn * 7919 % 180_000]);
            held.push(session);
            // A swell that comes and goes.
            if turn > 120 {
                held.drain(..90);
            }
        }
    };
    work(&mut page, points - 1);
    for (source, bytes) in [
        ("127.0.0.9", &b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n"[..]),
        ("127.0.0.1", b"PROXY TCP4 203.0.113.7 192.0.2.256 51820 443\r\n"),
        ("127.0.0.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a\x91\x5e\x0c\x77\x12"),
        ("127.0.0.1", HTTP),
        ("127.0.0.1", HTTP),
    ] {
        let source: IpAddr = source.parse().expect("an address");
        Client::connect(source, edge).exchange(bytes).assert_reset();
    }
    work(&mut page, points);
    page.wait_for_text("#attention", "untrusted 1");
    page.wait_for_text("#refusals-list li", "2 times");
    page.eval(
        "document.querySelectorAll('details').forEach((one, index) => { one.open = index === 0; })",
    );
    page.wait_for_text("#refusals-list li pre", "byte 0");
    for (name, look) in [
        ("dashboard-light", Look { scheme: "light", width: 1200, height: 820 }),
        ("dashboard-dark", Look { scheme: "dark", width: 1200, height: 820 }),
        ("dashboard-phone-light", PHONE),
        ("dashboard-phone-dark", Look { scheme: "dark", ..PHONE }),
    ] {
        page.look(look);
        let photo = page.photo();
        assert!(photo.starts_with(b"\x89PNG"), "{name}");
        if let Some(dir) = &dir {
            let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(dir);
            fs::create_dir_all(&place).expect("the directory can be made");
            fs::write(place.join(format!("{name}.png")), &photo).expect("it can be written");
        }
        assert!(photo.len() < PHOTO_BYTES_MAX, "{name} has {} bytes", photo.len());
    }
}

/// What comes from a check that knows nothing of headers.
const HTTP: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: check/2\r\n\r\n";

/// Some listeners as people have them, the first of which is busy.
fn at_work(to: SocketAddr) -> String {
    let listeners =
        [("edge", "web"), ("mail", "smtp"), ("postgres", "database"), ("metrics", "web")];
    let listeners = listeners.map(|(name, upstream)| {
        format!(
            "[[listener]]\nname = '{name}'\nbind = ['127.0.0.1:0']\nupstream = '{upstream}'\n\
             [listener.proxy_protocol]\naccept = 'require'\ntrust = ['127.0.0.1']\n"
        )
    });
    let upstreams = format!(
        "[upstream.web]\nendpoints = ['{to}']\n[upstream.smtp]\nendpoints = ['127.0.0.2:25']\n\
         [upstream.database]\nendpoints = ['127.0.0.3:5432', '127.0.0.4:5432']\n"
    );
    file("127.0.0.1:0", &[listeners.concat(), upstreams])
}
