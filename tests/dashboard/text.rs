//! What strangers send is text, and the page runs nothing but its own script.

use serde_json::json;

use crate::browser::Page;
use crate::common::far_end::FarEnd;
use crate::served::{Served, refused};

#[test]
fn bytes_that_would_be_markup_are_shown_as_text() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    let mut page = Page::open(&served.url());
    let hostile = "<img src=x onerror=alert(1)><script>document.title='mine'</script>";
    refused(served.server.addr(), hostile.as_bytes());
    page.wait_for_text("#refusals-list", "<img src=x onerr");
    let row = json!("|<img src=x onerr|");
    page.wait_until(&format!(
        "document.querySelector('#refusals-list pre').innerText.includes({row})"
    ));
    assert_eq!(page.eval("document.querySelectorAll('img, script:not([nonce])').length"), 0);
    // The direction of text is nobody's to turn, and no control byte comes through.
    refused(served.server.addr(), b"\xe2\x80\xae\x00\x1b[31mred\xff\xfe");
    page.wait_for_text("#refusals-list", "....[31mred..");
    assert!(!page.text("#refusals-list").contains(['\u{202e}', '\u{1b}', '\0']));
    assert!(!page.text("title").contains("mine"));
}

#[test]
fn no_script_but_the_pages_own_runs_and_no_text_becomes_markup() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    for sink in [
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('script').text = 'window.isMine = 1'",
        "document.body.setAttribute('onclick', 'window.isMine = 1')",
        "eval('window.isMine = 1')",
        "await import('data:text/javascript,window.isMine = 1')",
    ] {
        let tried =
            format!("(async () => {{ try {{ {sink}; }} catch {{ return 'refused'; }} }})()");
        assert_eq!(page.eval(&tried), "refused", "{sink}");
    }
    assert_eq!(page.eval("window.isMine === undefined"), true);
    let elsewhere = page.eval("fetch('http://127.0.0.1:9/').then(() => 'asked', (e) => e.name)");
    assert_eq!(elsewhere, "TypeError");
    let complaints = page.complaints().join("\n");
    for rule in ["TrustedHTML", "TrustedScript", "script-src", "connect-src"] {
        assert!(complaints.contains(rule), "{rule} holds: {complaints}");
    }
}
