//! The session machine without sockets: what deciding costs, per connection, in time and memory.
//!
//! Invariant: each script takes exactly the actions it says, and none of them allocates.

mod timed;

use std::hint::black_box;
use std::time::Instant;

use benches::script::{BULK, SHORT, Script, play};
use criterion::{Criterion, criterion_group, criterion_main};
use timed::cell;

fn scripts(criterion: &mut Criterion) {
    #[expect(clippy::disallowed_methods, reason = "the scripts' one moment; it never moves on")]
    let now = Instant::now();
    let group = &mut criterion.benchmark_group("session");
    let cases: [(&str, &Script); 2] = [("short connection", &SHORT), ("64 MiB download", &BULK)];
    for (name, script) in cases {
        // The first one makes what all share.
        play(script, now);
        let used = allocation_counter::measure(|| {
            black_box(play(black_box(script), now));
        });
        assert_eq!(used.count_total, 0, "{name}: allocations");
        let name = format!("{name}, {} actions, 0 allocations", script.actions);
        cell(group, &name, &script.actions, || play(black_box(script), now), |actions| *actions);
    }
}

criterion_group!(session, scripts);
criterion_main!(session);
