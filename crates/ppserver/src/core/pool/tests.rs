//! Whom a pool chooses, however it does, and what becomes of its counts.

use std::net::Ipv4Addr;

use super::endpoint::Member;
use super::health::Wish;
use super::*;

const WORKERS: usize = 2;

#[expect(clippy::disallowed_methods, reason = "a test's epoch")]
fn start() -> Instant {
    Instant::now()
}

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number).into()
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(Member::at(([127, 0, 0, 1], port).into()), WORKERS)
}

fn endpoints(count: u16) -> Vec<Endpoint> {
    (1..=count).map(endpoint).collect()
}

fn pool(endpoints: &[Endpoint], balance: Balance) -> Pool {
    Pool { endpoints: endpoints.to_vec(), attempts_max: 3, failures_max: 2, balance }
}

fn upstream(endpoints: &[Endpoint], balance: Balance, now: Instant) -> Upstream {
    Upstream::new("web".to_owned(), pool(endpoints, balance), 0, now)
}

fn maglev(endpoints: &[Endpoint]) -> Balance {
    Balance::source_hash("web", endpoints)
}

fn pick(upstream: &Upstream, number: u32, now: Instant) -> Result<usize, Unavailable> {
    upstream.pick(&mut Tried::default(), Some(client(number)), None, now)
}

#[test]
fn endpoints_are_taken_in_turn_and_retried_at_another() {
    let now = start();
    let upstream = upstream(&endpoints(3), Balance::RoundRobin, now);
    assert_eq!([0; 4].map(|it| pick(&upstream, it, now)), [Ok(0), Ok(1), Ok(2), Ok(0)]);
    let mut tried = Tried::default();
    let mut picked: Vec<_> =
        (0..3).map(|_| upstream.pick(&mut tried, Some(client(1)), None, now).unwrap()).collect();
    assert_eq!(upstream.pick(&mut tried, Some(client(1)), None, now), Err(Unavailable::None));
    picked.sort_unstable();
    assert_eq!(picked, [0, 1, 2]);
}

#[test]
fn nobody_is_tried_twice_nor_more_than_there_are() {
    let now = start();
    assert_eq!(upstream(&endpoints(2), Balance::RoundRobin, now).attempts_max(), 2);
    assert_eq!(upstream(&[], Balance::RoundRobin, now).attempts_max(), 1);
}

#[test]
fn however_one_is_chosen_a_pool_without_an_endpoint_has_nobody_until_it_has_one() {
    let now = start();
    let ways: [fn(&[Endpoint]) -> Balance; 5] = [
        |_| Balance::RoundRobin,
        |_| Balance::LeastConnections,
        |_| Balance::RandomOfTwo,
        maglev,
        |_| Balance::First,
    ];
    for way in ways {
        let pool = |endpoints: &[Endpoint]| pool(endpoints, way(endpoints));
        let before = Upstream::new("web".to_owned(), pool(&[]), 0, now);
        let since = before.reloaded(pool(&endpoints(1)));
        let after = since.reloaded(pool(&[]));
        let picked = [&before, &since, &after].map(|upstream| pick(upstream, 1, now));
        assert_eq!(picked, [Err(Unavailable::None), Ok(0), Err(Unavailable::None)]);
    }
}

fn every_balance(all: &[Endpoint]) -> [Balance; 5] {
    [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomOfTwo,
        maglev(all),
        Balance::First,
    ]
}

#[test]
fn however_one_is_chosen_who_is_down_is_not_while_somebody_is_up() {
    let now = start();
    let all = endpoints(3);
    for balance in every_balance(&all) {
        let upstream = upstream(&all, balance.clone(), now);
        all[1].shared.health.set_wish(Wish::Down);
        assert!((0..100).all(|it| pick(&upstream, it, now).unwrap() != 1), "{balance:?}");
        all[0].shared.health.set_wish(Wish::Draining);
        all[2].shared.health.handle_failed(1);
        let tried: Vec<_> = (0..100).map(|it| pick(&upstream, it, now).unwrap()).collect();
        assert!(
            tried.iter().all(|at| *at != 0),
            "nobody is up: all are tried, but for the operator's"
        );
        all[0].shared.health.set_wish(Wish::Auto);
        all[1].shared.health.set_wish(Wish::Auto);
        all[2].shared.health.readmit();
    }
}

#[test]
fn the_least_loaded_gets_the_next_over_all_workers() {
    let now = start();
    let all = endpoints(3);
    let here = upstream(&all, Balance::LeastConnections, now);
    let other = Upstream::new("web".to_owned(), pool(&all, Balance::LeastConnections), 1, now);
    let mut picked = [&here, &other, &here].map(|it| pick(it, 1, now).unwrap());
    let (second, third) = (picked[1], picked[2]);
    picked.sort_unstable();
    assert_eq!(picked, [0, 1, 2]);
    other.handle_closed(second);
    here.handle_closed(third);
    assert_eq!(all.iter().map(|it| it.shared.active()).sum::<u64>(), 1);
}

#[test]
fn weights_count_in_each_way_that_knows_them() {
    let now = start();
    let all = || {
        let mut all = endpoints(2);
        all[0].member.weight = 3;
        all
    };
    for (balance, min, max) in [
        (Balance::RoundRobin, 3000, 3000),
        (Balance::LeastConnections, 2999, 3001),
        (maglev(&all()), 2900, 3100),
    ] {
        let upstream = upstream(&all(), balance, now);
        let first = (0..4000).filter(|it| pick(&upstream, *it, now) == Ok(0)).count();
        assert!((min..=max).contains(&first), "{first}");
    }
}

#[test]
fn of_two_that_are_drawn_the_less_loaded_is_chosen() {
    let now = start();
    let upstream = upstream(&endpoints(3), Balance::RandomOfTwo, now);
    for it in 0..3000 {
        pick(&upstream, it, now).unwrap();
    }
    for at in 0..3 {
        let active = upstream.endpoint(at).shared.active();
        assert!((980..1020).contains(&active), "{active}");
    }
}

#[test]
fn who_has_no_weight_gets_nobody() {
    let now = start();
    let mut all = endpoints(2);
    all[0].member.weight = 0;
    for balance in [Balance::RoundRobin, Balance::First, Balance::RandomOfTwo, maglev(&all)] {
        let upstream = upstream(&all, balance, now);
        assert!((0..10).all(|it| pick(&upstream, it, now) == Ok(1)));
        all[1].shared.health.set_wish(Wish::Down);
        assert_eq!(pick(&upstream, 1, now), Err(Unavailable::None));
        all[1].shared.health.set_wish(Wish::Auto);
    }
}

#[test]
fn a_client_belongs_to_one_endpoint_on_every_node() {
    let now = start();
    let all = endpoints(5);
    let turned: Vec<_> = all.iter().rev().cloned().collect();
    let (one, other) = (upstream(&all, maglev(&all), now), upstream(&turned, maglev(&turned), now));
    let port = |upstream: &Upstream, client: IpAddr| {
        let at = upstream.pick(&mut Tried::default(), Some(client), None, now).unwrap();
        upstream.endpoint(at).member.addr.inet().unwrap().port()
    };
    for number in 0..1000 {
        let IpAddr::V4(plain) = client(number) else { unreachable!("it is IPv4") };
        let mapped = plain.to_ipv6_mapped().into();
        assert_eq!(port(&one, plain.into()), port(&other, mapped), "{plain}");
    }
}

#[test]
fn those_who_are_left_share_the_clients_of_a_pool_whose_owners_are_all_down() {
    let now = start();
    let mut all = endpoints(4);
    (all[2].member.is_backup, all[3].member.is_backup) = (true, true);
    let upstream = upstream(&all, maglev(&all), now);
    all[..2].iter().for_each(|it| it.shared.health.set_wish(Wish::Down));
    let picked: Vec<_> = (0..1000).map(|it| pick(&upstream, it, now).unwrap()).collect();
    let third = picked.iter().filter(|at| **at == 2).count();
    assert!((400..600).contains(&third) && picked.iter().all(|at| *at >= 2), "{third}");
    assert_eq!(picked[7], pick(&upstream, 7, now).unwrap(), "the same each time");
}

#[test]
fn who_is_full_is_passed_over_and_all_full_is_said() {
    let now = start();
    let mut all = endpoints(3);
    all[2].member.is_backup = true;
    for endpoint in &mut all {
        endpoint.member.connections_max = 1;
    }
    let upstream = upstream(&all, Balance::First, now);
    let picked = [1, 2, 3, 4].map(|it| pick(&upstream, it, now));
    assert_eq!(picked, [Ok(0), Ok(1), Ok(2), Err(Unavailable::Full)]);
    upstream.handle_closed(1);
    assert_eq!(pick(&upstream, 5, now), Ok(1));
}

#[test]
fn a_backup_is_chosen_while_no_other_is_up() {
    let now = start();
    let mut all = endpoints(2);
    all[0].member.is_backup = true;
    let upstream = upstream(&all, Balance::RoundRobin, now);
    assert!((0..10).all(|it| pick(&upstream, it, now) == Ok(1)));
    all[1].shared.health.set_wish(Wish::Down);
    assert!((0..10).all(|it| pick(&upstream, it, now) == Ok(0)));
}

#[test]
fn one_that_leaves_connects_unanswered_gets_nobody_new_until_one_stands() {
    let now = start();
    let upstream = upstream(&endpoints(2), Balance::RoundRobin, now);
    let later = now + UNANSWERED_MAX;
    assert_eq!([0; 3].map(|it| pick(&upstream, it, now)), [Ok(0), Ok(1), Ok(0)], "not for a while");
    upstream.handle_connected(1, now);
    assert!((0..10).all(|it| pick(&upstream, it, later) == Ok(1)));
    upstream.handle_connected(0, later);
    assert!([0; 4].map(|it| pick(&upstream, it, later)).contains(&Ok(0)), "the other may follow");
}

#[test]
fn failures_eject_and_every_count_comes_back() {
    let now = start();
    let all = endpoints(2);
    let upstream = upstream(&all, Balance::First, now);
    for is_ejected in [false, true] {
        assert_eq!(pick(&upstream, 1, now), Ok(0));
        assert_eq!(upstream.handle_failed(0), is_ejected);
    }
    assert_eq!(pick(&upstream, 1, now), Ok(1));
    upstream.handle_cancelled(1);
    assert!(all.iter().all(|it| it.shared.active() == 0));
    assert!(upstream.is_answering(1, now + UNANSWERED_MAX), "nobody waits for it any more");
}

#[test]
fn after_a_failure_nobody_is_kept_waiting_at_one_that_is_out() {
    let now = start();
    let all = endpoints(2);
    all[1].shared.health.handle_failed(1);
    let upstream = upstream(&all, Balance::RoundRobin, now);
    let mut tried = Tried::default();
    let mut pick = || upstream.pick(&mut tried, Some(client(1)), None, now);
    assert_eq!([pick(), pick()], [Ok(0), Err(Unavailable::None)]);
}

#[test]
fn a_reload_forgets_neither_whose_turn_it_is_nor_who_is_waited_for() {
    let now = start();
    let all = endpoints(2);
    let old = upstream(&all, Balance::RoundRobin, now);
    assert_eq!(pick(&old, 1, now), Ok(0));
    let new = old.reloaded(pool(&all, Balance::RoundRobin));
    assert_eq!([pick(&new, 1, now), pick(&old, 1, now), pick(&new, 1, now)], [Ok(1), Ok(0), Ok(1)]);
    let later = now + UNANSWERED_MAX;
    new.handle_cancelled(1);
    new.handle_cancelled(1);
    assert!((0..10).all(|it| pick(&new, it, later) == Ok(1)), "the first is still not answered");
    old.handle_connected(0, later);
    old.handle_connected(0, later);
    assert!([0; 2].map(|it| pick(&new, it, later)).contains(&Ok(0)));
}

#[test]
fn a_reload_leaves_the_turn_with_the_endpoint_that_has_it() {
    let now = start();
    let all = endpoints(3);
    let old = upstream(&all, Balance::RoundRobin, now);
    assert_eq!([pick(&old, 1, now), pick(&old, 1, now)], [Ok(0), Ok(1)]);
    let turned: Vec<_> = [2, 1, 0].map(|at: usize| all[at].clone()).to_vec();
    let new = old.reloaded(pool(&turned, Balance::RoundRobin));
    assert_eq!(
        pick(&new, 1, now).map(|at| new.endpoint(at).member.addr.inet().unwrap().port()),
        Ok(3)
    );
}

#[test]
fn an_endpoint_of_the_other_family_is_none_for_a_client_who_comes_from_his_own_address() {
    let now = start();
    let member = |text: &str| Member {
        addr: text.parse().unwrap(),
        ..Member::at(([127, 0, 0, 1], 1).into())
    };
    let texts = ["10.0.0.7:80", "[fd00::7]:80", "unix:/run/web.sock"];
    let all = texts.map(|text| Endpoint::new(member(text), WORKERS)).to_vec();
    let upstream = upstream(&all, Balance::First, now);
    let tries = |from: Option<&str>| {
        let from = from.map(|from| from.parse().unwrap());
        let mut tried = Tried::default();
        let tries = std::iter::from_fn(|| upstream.pick(&mut tried, from, from, now).ok());
        tries.collect::<Vec<_>>()
    };
    assert_eq!(tries(None), [0, 1, 2]);
    assert_eq!(tries(Some("203.0.113.7")), [0, 2]);
    assert_eq!(tries(Some("2001:db8::7")), [1, 2]);
    // One that is up and of no use keeps nobody from those that failed.
    all[0].shared.health.handle_failed(1);
    all[2].shared.health.handle_failed(1);
    assert_eq!(tries(Some("203.0.113.7")), [0, 2]);
}

#[test]
fn a_slow_start_gets_its_part_of_the_weight_in_each_way_that_knows_weights() {
    let begin = start();
    let all = endpoints(2);
    // A quarter of it is over: its weight is a quarter of the other's.
    all[0].shared.ramp.begin(Duration::from_secs(4), begin);
    let now = begin + Duration::from_secs(1);
    for (balance, min, max) in [
        (Balance::RoundRobin, 200, 200),
        (Balance::LeastConnections, 199, 201),
        (Balance::RandomOfTwo, 180, 220),
        // An eighth of all clients: a quarter of its own.
        (maglev(&all), 100, 150),
    ] {
        let upstream = upstream(&all, balance.clone(), now);
        let picked: Vec<_> = (0..1000).map(|it| pick(&upstream, it, now).unwrap()).collect();
        let count = picked.iter().filter(|at| **at == 0).count();
        assert!((min..=max).contains(&count), "{count} {balance:?}");
        picked.iter().for_each(|at| upstream.handle_cancelled(*at));
    }
}

#[test]
fn clients_of_a_hash_come_back_to_one_that_starts_slowly_one_after_the_other_and_stay() {
    let begin = start();
    let all = endpoints(2);
    let upstream = upstream(&all, maglev(&all), begin);
    let own = |now| (0..1000).filter(|it| pick(&upstream, *it, now) == Ok(0)).collect::<Vec<_>>();
    let before = own(begin);
    all[0].shared.ramp.begin(Duration::from_secs(4), begin);
    let mut last = Vec::new();
    for seconds in 0..=4 {
        let now = own(begin + Duration::from_secs(seconds));
        assert!(last.iter().all(|client| now.contains(client)) && now.len() >= last.len());
        last = now;
    }
    assert_eq!(last, before);
}

#[test]
fn one_that_starts_slowly_is_chosen_where_there_is_no_other() {
    let now = start();
    let all = endpoints(1);
    all[0].shared.ramp.begin(Duration::from_secs(4), now);
    for balance in every_balance(&all) {
        let upstream = upstream(&all, balance, now);
        assert!((0..10).all(|it| pick(&upstream, it, now) == Ok(0)));
    }
}

#[test]
fn a_flow_waits_for_no_answer_and_refusals_in_a_row_eject() {
    let now = start();
    let upstream = upstream(&endpoints(2), Balance::First, now);
    let flow = || {
        let at = pick(&upstream, 1, now).unwrap();
        upstream.handle_flow_begun(at);
        at
    };
    assert_eq!(flow(), 0);
    let later = now + 2 * UNANSWERED_MAX;
    assert_eq!(pick(&upstream, 1, later), Ok(0), "nobody waits for an answer");
    upstream.handle_cancelled(0);
    assert_eq!((flow(), upstream.handle_flow_refused(0)), (0, false));
    upstream.handle_flow_answered(0);
    assert_eq!((flow(), upstream.handle_flow_refused(0)), (0, false), "not in a row");
    assert_eq!((flow(), upstream.handle_flow_refused(0)), (0, true));
    assert_eq!((flow(), upstream.endpoint(0).shared.active()), (1, 1));
    upstream.handle_closed(0);
    assert_eq!(upstream.endpoint(0).shared.active(), 0);
}
