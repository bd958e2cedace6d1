//! Servers that count under one name, as one does that was seeded from another: whose counts are whose, nobody can tell.
//!
//! ```text
//! the name in each server's functions ─▶ a name that two replicas have ─▶ counters that differ under it are left alone
//! ```
//!
//! Deliberately absent: telling apart what has been counted; `reknit functions install --replace` gives a server its
//! own name, and from then on nothing is lost.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::model::{Layout, ReplicaName, Stamps, escape};

use super::run::Run;
use super::stamps::{Stampings, stamps};

/// Names under which more than one replica counts, each with the replicas that do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Namesakes(BTreeMap<String, Vec<ReplicaName>>);

impl Namesakes {
    /// Asks the replicas that take part under which names their servers count, and warns of what is wrong with them.
    pub(super) async fn ask(run: &Run, active: &[usize]) -> Self {
        if run.scope.layout() == Layout::Plain {
            return Self::default();
        }
        let replicas = active.iter().map(|at| &run.participants[*at].replica);
        let asked = replicas.map(|replica| async move {
            let counting = replica.counting_names().await.unwrap_or_else(|error| {
                tracing::warn!("under which name it counts is not known: {error}");
                Vec::new()
            });
            (replica.name().clone(), counting)
        });
        let namesakes = Self::of(join_all(asked).await);
        for (name, replicas) in &namesakes.0 {
            tracing::warn!("{}", both(name, replicas));
        }
        namesakes
    }

    /// Of replicas and the names under which their servers count. A replica may count under its own name, too.
    fn of(counting: Vec<(ReplicaName, Vec<String>)>) -> Self {
        let mut all: BTreeMap<String, Vec<ReplicaName>> = BTreeMap::new();
        for (replica, mut names) in counting {
            names.push(replica.0.clone());
            names.sort_unstable();
            names.dedup();
            for name in names {
                all.entry(name).or_default().push(replica.clone());
            }
        }
        all.retain(|_, replicas| replicas.len() > 1);
        Self(all)
    }

    /// Why a counter is left alone: what was counted under such a name is not the same everywhere.
    pub(super) fn doubt(&self, stampings: &Stampings) -> Option<String> {
        let known = stampings.iter().filter_map(|one| stamps(one.as_ref()));
        let counts: Vec<_> = known
            .filter_map(|one: &Stamps| one.counts.as_ref())
            .collect();
        self.0.iter().find_map(|(name, replicas)| {
            let differs = |sign: char| {
                let field = format!("{sign}{name}");
                let mut parts = counts.iter().map(|one| one.parts.get(field.as_bytes()));
                let first = parts.next();
                parts.any(|part| Some(part) != first)
            };
            (differs('+') || differs('-')).then(|| format!("quarantined: {}", both(name, replicas)))
        })
    }
}

fn both(name: &str, replicas: &[ReplicaName]) -> String {
    let replicas: Vec<&str> = replicas.iter().map(|one| one.0.as_str()).collect();
    format!(
        "{} count under the same name {}, so what each of them counted cannot be told apart: give each its own by \
         `reknit functions install --replace`",
        replicas.join(" and "),
        escape(name.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Counts;

    fn counting(all: &[(&str, &[&str])]) -> Namesakes {
        let all = all.iter().map(|(replica, names)| {
            let names = names.iter().map(|name| (*name).to_owned());
            (ReplicaName((*replica).into()), names.collect())
        });
        Namesakes::of(all.collect())
    }

    fn stampings(parts: &[&[(&'static str, i64)]]) -> Stampings {
        let each = parts.iter().map(|parts| {
            let parts = parts.iter().map(|(name, part)| ((*name).into(), *part));
            let counts = Counts {
                parts: parts.collect(),
                ..Counts::default()
            };
            Some(Ok(Stamps {
                counts: Some(counts),
                ..Stamps::default()
            }))
        });
        each.collect()
    }

    #[test]
    fn servers_of_one_name_are_namesakes_and_renamed_ones_are_not() {
        let none = Namesakes::default();
        assert_eq!(counting(&[("us", &["us"]), ("eu", &["eu"])]), none);
        assert_eq!(counting(&[("us", &[]), ("eu", &["europe"])]), none);
        let seeded = counting(&[("us", &["us"]), ("eu", &["us"])]);
        assert_eq!(
            seeded.0["us"],
            [ReplicaName("us".into()), ReplicaName("eu".into())]
        );
        assert_eq!(counting(&[("us", &[]), ("eu", &["us"])]), seeded);
    }

    #[test]
    fn counters_are_left_alone_only_where_the_common_name_has_counted_differently() {
        let seeded = counting(&[("us", &["us"]), ("eu", &["us"])]);
        assert_eq!(
            seeded.doubt(&stampings(&[&[("+us", 3)], &[("+us", 3), ("+ap", 1)]])),
            None
        );
        assert_eq!(seeded.doubt(&vec![None, Some(Err("no zset".into()))]), None);
        let apart = stampings(&[&[("+us", 3)], &[("+us", 4)]]);
        assert!(
            seeded
                .doubt(&apart)
                .is_some_and(|why| why.contains("us and eu count"))
        );
        assert!(seeded.doubt(&stampings(&[&[("-us", 1)], &[]])).is_some());
        assert_eq!(Namesakes::default().doubt(&apart), None);
    }
}
