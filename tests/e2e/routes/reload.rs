//! Other routes, while connections run.

use super::{Routed, header};

#[test]
fn a_reload_routes_who_comes_behind_it_and_nobody_who_is_there() {
    let to_other = "[[listener.route]]\nwhen = { client = ['203.0.113.0/24'] }\nupstream = 'other'";
    let denied = "[[listener.route]]\nwhen = { client = ['203.0.113.0/24'] }\ndeny = true";
    let routed = Routed::start(to_other);
    let client = header("203.0.113.7:1", &[]);
    let mut session = routed.open(&client);
    assert_eq!(routed.reload(denied)["changes"], "listener `edge`: route");
    routed.deny(&client);
    session.echo(b"who is there stays");
    assert_eq!(routed.reload("")["changes"], "listener `edge`: route");
    routed.serve(&client);
    assert_eq!(routed.seen(), [1, 1]);
    session.finish();
    session.rest();
    let counters = routed.end();
    assert_eq!(
        (&counters["closed"]["done"], &counters["closed"]["denied"]),
        (&2.into(), &1.into())
    );
}
