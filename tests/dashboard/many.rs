//! Five hundred listeners.

use crate::browser::Page;
use crate::common::far_end::FarEnd;
use crate::served::{Served, file, listener, session};

const LISTENERS: usize = 500;

/// Has the page ask, and waits until it has shown so many more answers.
#[track_caller]
fn wait_for_answers(page: &mut Page, answers: usize) {
    for _ in 0..answers {
        page.eval("window.lastHeard = heard; poll()");
        page.wait_until("heard !== window.lastHeard");
    }
}

#[test]
fn five_hundred_listeners_are_listed_filtered_and_touched_only_where_something_happens() {
    let far_end = FarEnd::start();
    let names: Vec<_> = (0..LISTENERS).map(|nth| format!("service-{nth}")).collect();
    let listeners: Vec<_> = names.iter().map(|name| listener(name, far_end.addr())).collect();
    let served = Served::with(&file("127.0.0.1:0", &listeners));
    let mut page = Page::open(&served.url());
    page.wait_until(&format!(
        "document.querySelectorAll('#listeners tbody tr').length === {LISTENERS}"
    ));
    page.wait_for_text("#listeners .count", "500");
    let order = "[...document.querySelectorAll('#listeners tbody tr:not([hidden]) th')].map(n => n.textContent)";
    assert_eq!(page.eval(order), serde_json::json!(names), "by name, with numbers as numbers");
    let first = page.seconds("TaskDuration");
    page.eval(
        "window.took = 0; { const real = take; take = (...answers) => { const from = performance.now(); \
         real(...answers); document.body.offsetHeight; window.took = performance.now() - from; }; }",
    );

    // Nothing happens: no cell is touched. Then one connection: its row alone.
    page.eval(
        "window.touched = new Set(); new MutationObserver((all) => { for (const one of all) { \
         const node = one.target.closest?.('tr') ?? one.target.parentElement.closest('tr'); \
         window.touched.add(node.firstChild.textContent); } }) \
         .observe(document.querySelector('#listeners tbody'), \
         { subtree: true, childList: true, characterData: true, attributes: true })",
    );
    wait_for_answers(&mut page, 2);
    assert_eq!(page.eval("[...window.touched]"), serde_json::json!([]));
    let idle = page.eval("window.took").as_f64().expect("milliseconds");
    let _held = session(served.server.addr());
    page.wait_until("window.touched.size > 0");
    wait_for_answers(&mut page, 1);
    assert_eq!(page.eval("[...window.touched]"), serde_json::json!(["service-0"]));

    page.press("/", "/");
    page.write("SERVICE-49");
    page.wait_for_text("#listeners .count", "11 of 500");
    assert_eq!(page.eval(&format!("{order}.length")), 11);
    page.press("Escape", "");
    page.wait_until("document.querySelector('#listeners .count').textContent === '500'");
    page.eval("document.querySelectorAll('#listeners thead button')[3].click()");
    assert_eq!(page.eval(&format!("{order}[0]")), "service-0", "it has the connection");
    println!(
        "{LISTENERS} listeners: {:.0} ms until they stand, {idle:.1} ms an answer",
        first * 1000.0
    );
}
