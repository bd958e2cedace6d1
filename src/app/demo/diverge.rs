//! How the replicas come to differ: writes that did not arrive, writes on both sides, a replica that lost everything.
//!
//! ```text
//!        us            eu            ap
//!        writes   -x   (missed)      writes       eu is cut off
//!        writes        writes        -            both sides go on
//!        -             -             FLUSHALL     ap comes back empty
//! ```

use redis::Pipeline;

use crate::model::Millis;

use super::data::{Family, STREAM_TIME, ends, name};

/// One key in so many is touched by each kind of divergence.
const ONE_IN: u64 = 300;
/// The most keys that each kind touches.
const MOST: u64 = 300;

/// The key that is a string on one side and a hash on the other.
pub(super) const TYPE_CONFLICT: &str = "config:checkout";

/// How many keys each kind of divergence touches.
pub(super) fn scale(keys: u64) -> u64 {
    (keys / ONE_IN).clamp(2, MOST)
}

/// Keys of a family, in the order of their numbers: the first or, for `later`, the next so many.
fn some(family: Family, keys: u64, count: u64, later: bool) -> impl Iterator<Item = u64> {
    let skipped = if later { count } else { 0 };
    (0..keys)
        .filter(move |&number| Family::of(number) == family)
        .skip(skipped as usize)
        .take(count as usize)
}

/// Writes that only eu missed: new keys, and changes of every sort of collection.
pub(super) fn missed_by_eu(keys: u64) -> Pipeline {
    let count = scale(keys);
    let mut missed = Pipeline::new();
    for order in 0..count {
        let text = format!("user={order};state=paid");
        missed.cmd("SET").arg(format!("order:{order}")).arg(text);
    }
    for number in some(Family::User, keys, count, false) {
        let user = missed.cmd("HSET").arg(name(number));
        user.arg("address").arg(format!("{number} Elm Street"));
    }
    for number in some(Family::Events, keys, count, false) {
        let stream = missed.cmd("XADD").arg(name(number));
        stream.arg(format!("{}-0", STREAM_TIME + 5_000));
        stream.arg("event").arg("checkout");
    }
    for number in some(Family::Board, keys, count, false) {
        let board = missed.cmd("ZADD").arg(name(number));
        board.arg(123_456).arg("player:new");
    }
    for number in some(Family::Inbox, keys, count, false) {
        let inbox = missed.cmd("RPUSH").arg(name(number));
        inbox.arg("message that eu never saw");
    }
    missed
}

/// Writes of us and of eu to the same keys, while neither hears of the other.
pub(super) fn both_sides(keys: u64) -> [Pipeline; 2] {
    ["us", "eu"].map(|side| {
        let count = scale(keys);
        let mut writes = Pipeline::new();
        for number in some(Family::Product, keys, count, false) {
            let json = format!(
                r#"{{"sku":"{side}-{number}","price_cents":{}}}"#,
                number + 100
            );
            writes.cmd("SET").arg(name(number)).arg(json);
        }
        for number in some(Family::User, keys, count, true) {
            let user = writes.cmd("HSET").arg(name(number));
            user.arg("email")
                .arg(format!("{number}@{side}.example.com"));
            user.arg(format!("seen_in_{side}")).arg(1);
        }
        for number in some(Family::Cart, keys, count, false) {
            let cart = writes.cmd("SADD").arg(name(number));
            cart.arg(format!("sku:bought-in-{side}"));
        }
        writes
    })
}

/// Sessions that us extended and eu did not.
pub(super) fn extended_in_us(keys: u64, now: Millis) -> Pipeline {
    let mut writes = Pipeline::new();
    for number in some(Family::Session, keys, scale(keys), false) {
        let expire = writes.cmd("PEXPIREAT").arg(name(number));
        expire.arg(ends(now, 24 * 60));
    }
    writes
}

/// The same name made a string by us and a hash by eu.
pub(super) fn type_conflict() -> [Pipeline; 2] {
    let (mut us, mut eu) = (Pipeline::new(), Pipeline::new());
    us.cmd("SET").arg(TYPE_CONFLICT).arg("retries=3");
    eu.cmd("HSET").arg(TYPE_CONFLICT).arg("retries").arg(5);
    [us, eu]
}

/// One key of each kind of divergence, worth a closer look.
pub(super) fn samples(keys: u64) -> Vec<String> {
    let first = |family, later| some(family, keys, scale(keys), later).next();
    let numbers = [
        first(Family::Product, false),
        first(Family::User, true),
        first(Family::Cart, false),
        first(Family::Session, false),
    ];
    let named = numbers.into_iter().flatten().map(name);
    named
        .chain(["order:0".to_owned(), TYPE_CONFLICT.to_owned()])
        .collect()
}
