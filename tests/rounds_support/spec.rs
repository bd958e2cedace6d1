//! The specification: what servers must hold, told from the writes of their clients alone.
//!
//! A dot is one write of one client. Every holder, a server or what was agreed last, knows of each element which dot it
//! holds and which it has seen. After a run of all servers:
//! * a dot lives unless a holder that has seen it holds it no more, so removals take what they had seen and no more;
//! * of several living values of one element the first server's wins (`prefer` by default);
//! * a counter is the sum of all increments;
//! * lists that only grew at their ends are joined, else a list is one value.
//!
//! A server that was rolled back is at the dots of that time, and its values win against nothing that was agreed since.
//! A newcomer has seen nothing: it fills gaps. Nothing here knows versions, bases, markers, lags or sequences.

use std::collections::{BTreeMap, BTreeSet};

/// One write of one client.
type Dot = u64;
/// A key and an element of it; the element is empty where the key is one value.
pub(crate) type Name = (String, String);
/// What a server holds, by element.
pub(crate) type Contents = BTreeMap<Name, String>;

/// What a server remembers of its past, as reknit must find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// Everything.
    Intact,
    /// Nothing after some moment.
    RolledBack,
    /// Nothing.
    Newcomer,
}

#[derive(Debug, Clone, Default)]
struct Element {
    live: Option<(Dot, String)>,
    seen: BTreeSet<Dot>,
}

/// What one holder has and has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    elements: BTreeMap<Name, Element>,
    increments: BTreeMap<(String, Dot), i64>,
    lists: BTreeMap<String, Vec<String>>,
    /// The lists that this holder's clients started from.
    bases: BTreeMap<String, Vec<String>>,
}

impl Sight {
    /// What a server with this sight holds.
    pub(crate) fn contents(&self) -> Contents {
        let present = self.elements.iter().filter_map(|(name, element)| {
            let (_, item) = element.live.as_ref()?;
            let item = match is_counter(&name.0) {
                true => self.total(&name.0).to_string(),
                false => item.clone(),
            };
            Some((name.clone(), item))
        });
        let lists = self.lists.iter().filter(|(_, list)| !list.is_empty());
        let lists = lists.map(|(key, list)| ((key.clone(), String::new()), list.join(",")));
        present.chain(lists).collect()
    }

    pub(crate) fn item(&self, name: &Name) -> Option<&String> {
        Some(&self.elements.get(name)?.live.as_ref()?.1)
    }

    /// The elements of a key, in order.
    pub(crate) fn elements_of(&self, key: &str) -> Vec<String> {
        let range = self.elements.range((key.to_owned(), String::new())..);
        range
            .take_while(|((of, _), _)| of == key)
            .filter(|(_, element)| element.live.is_some())
            .map(|((_, name), _)| name.clone())
            .collect()
    }

    fn total(&self, key: &str) -> i64 {
        let of_key = self.increments.iter().filter(|((of, _), _)| of == key);
        of_key.map(|(_, amount)| amount).sum()
    }

    fn knows(&self, name: &Name) -> bool {
        self.elements
            .get(name)
            .is_some_and(|element| !element.seen.is_empty())
    }

    /// Whether it has seen something of the key, and holds nothing of it.
    fn has_gone(&self, key: &str) -> bool {
        let of_key = self.elements.iter().filter(|((of, _), _)| of == key);
        let mut seen = of_key.filter(|(_, element)| !element.seen.is_empty());
        seen.next().is_some() && self.elements_of(key).is_empty()
    }

    fn lets_live(&self, name: &Name, dot: Dot) -> bool {
        let Some(element) = self.elements.get(name) else {
            return true;
        };
        let holds = element.live.as_ref().is_some_and(|(live, _)| *live == dot);
        holds || !element.seen.contains(&dot)
    }
}

/// All servers, and what was agreed last.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) sights: Vec<Sight>,
    pub(crate) pasts: Vec<Past>,
    agreed: Sight,
    dots: Dot,
}

impl Spec {
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            sights: vec![Sight::default(); servers],
            pasts: vec![Past::Intact; servers],
            agreed: Sight::default(),
            dots: 0,
        }
    }

    /// A number that never comes again.
    pub(crate) fn dot(&mut self) -> u64 {
        self.dots += 1;
        self.dots
    }

    /// A client gives an element a value.
    pub(crate) fn put(&mut self, server: usize, name: &Name, item: String) {
        self.remove(server, name);
        let dot = self.dot();
        let elements = &mut self.sights[server].elements;
        let element = elements.entry(name.clone()).or_default();
        element.live = Some((dot, item));
        element.seen.insert(dot);
    }

    /// A client removes an element. What came and went between two runs was never there.
    pub(crate) fn remove(&mut self, server: usize, name: &Name) {
        let Some(element) = self.sights[server].elements.get_mut(name) else {
            return;
        };
        if let Some((dot, _)) = element.live.take() {
            let agreed = self.agreed.elements.get(name);
            if !agreed.is_some_and(|agreed| agreed.seen.contains(&dot)) {
                element.seen.remove(&dot);
            }
        }
    }

    /// A client increases a counter.
    pub(crate) fn increase(&mut self, server: usize, key: &str, amount: i64) {
        self.put(server, &(key.to_owned(), String::new()), String::new());
        let dot = self.dot();
        let increments = &mut self.sights[server].increments;
        increments.insert((key.to_owned(), dot), amount);
    }

    /// A client deletes a counter: it takes away what it holds.
    pub(crate) fn reset(&mut self, server: usize, key: &str) {
        let total = self.sights[server].total(key);
        self.increase(server, key, -total);
        self.remove(server, &(key.to_owned(), String::new()));
    }

    /// A client changes a list.
    pub(crate) fn list(&mut self, server: usize, key: &str) -> &mut Vec<String> {
        let lists = &mut self.sights[server].lists;
        lists.entry(key.to_owned()).or_default()
    }

    /// A server starts again with what some server was.
    pub(crate) fn forget(&mut self, server: usize, past: Past, mut sight: Sight) {
        sight.bases = sight.lists.clone();
        self.sights[server] = sight;
        self.pasts[server] = past;
    }

    /// The servers but one, as if there were no other.
    pub(crate) fn without(&self, server: usize) -> Self {
        let mut others = self.clone();
        others.sights.remove(server);
        others.pasts.remove(server);
        others
    }

    /// Whether what a newcomer's clients add there counts as nothing because it was agreed on before.
    pub(crate) fn was_agreed(&self, name: &Name) -> bool {
        self.agreed.knows(name)
    }

    /// A run of all servers ends: they are equal, and have seen everything.
    pub(crate) fn merge(&mut self) -> Contents {
        let mut merged = Sight {
            increments: self.sum(),
            lists: self.join_lists(),
            ..Sight::default()
        };
        merged.bases = merged.lists.clone();
        let holders = self.sights.iter().chain([&self.agreed]);
        let names: BTreeSet<Name> = holders
            .flat_map(|one| one.elements.keys().cloned())
            .collect();
        for name in names {
            let element = self.join(&name);
            merged.elements.insert(name, element);
        }
        self.sights.fill(merged.clone());
        self.pasts.fill(Past::Intact);
        self.agreed = merged;
        self.agreed.contents()
    }

    fn join(&self, name: &Name) -> Element {
        let told = self.told();
        let lives = |sight: &Sight| {
            let (dot, item) = sight.elements.get(name)?.live.clone()?;
            let survives = told.iter().all(|one| one.lets_live(name, dot));
            survives.then_some((dot, item))
        };
        let agreed = lives(&self.agreed);
        let servers = 0..self.sights.len();
        let mut counting = servers.filter(|server| self.counts(*server, name));
        let live = agreed.or_else(|| counting.find_map(|server| lives(&self.sights[server])));
        let all = self.sights.iter().chain([&self.agreed]);
        let all = all.filter_map(|one| one.elements.get(name));
        let seen = all.flat_map(|element| element.seen.clone()).collect();
        Element { live, seen }
    }

    /// Whether what a server holds of an element may become what all hold.
    fn counts(&self, server: usize, name: &Name) -> bool {
        let others = self.sights.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != server);
        match self.pasts[server] {
            Past::Intact | Past::RolledBack => true,
            Past::Newcomer => {
                let is_known = others.any(|(_, sight)| sight.knows(name));
                !is_known && !self.agreed.knows(name) && !self.agreed.has_gone(&name.0)
            }
        }
    }

    fn sum(&self) -> BTreeMap<(String, Dot), i64> {
        let told = self.told().into_iter();
        told.flat_map(|sight| sight.increments.clone()).collect()
    }

    /// Those whose absences and sums mean something.
    fn told(&self) -> Vec<&Sight> {
        let told = self.sights.iter().zip(&self.pasts);
        let told = told.filter(|(_, past)| **past != Past::Newcomer);
        told.map(|(sight, _)| sight).chain([&self.agreed]).collect()
    }

    fn join_lists(&self) -> BTreeMap<String, Vec<String>> {
        let holders = self.sights.iter().chain([&self.agreed]);
        let keys: BTreeSet<&String> = holders.flat_map(|sight| sight.lists.keys()).collect();
        keys.into_iter()
            .map(|key| (key.clone(), self.join_list(key)))
            .collect()
    }

    fn join_list(&self, key: &str) -> Vec<String> {
        let of =
            |lists: &BTreeMap<String, Vec<String>>| lists.get(key).cloned().unwrap_or_default();
        let (mut changed, mut is_changed) = (Vec::new(), false);
        let base = of(&self.agreed.lists);
        for (sight, past) in self.sights.iter().zip(&self.pasts) {
            let list = of(&sight.lists);
            if *past == Past::Newcomer || list == of(&sight.bases) {
                continue;
            }
            assert!(
                *past == Past::Intact,
                "only those that know the base change lists"
            );
            is_changed = true;
            if !list.is_empty() && !changed.contains(&list) {
                changed.push(list);
            }
        }
        match (is_changed, changed.as_slice()) {
            (false, _) => base,
            (true, []) => Vec::new(),
            (true, [one]) => one.clone(),
            (true, several) => grown(several, &base).unwrap_or_else(|| several[0].clone()),
        }
    }
}

/// Lists that are the base with more at its ends, joined; none if one of them is not.
fn grown(lists: &[Vec<String>], base: &[String]) -> Option<Vec<String>> {
    let at = |list: &Vec<String>| match base.is_empty() {
        true => Some(0),
        false => list.windows(base.len()).position(|part| part == base),
    };
    let places: Option<Vec<usize>> = lists.iter().map(at).collect();
    let places = places?;
    let ends = lists.iter().zip(&places);
    let before = ends.clone().flat_map(|(list, at)| &list[..*at]);
    let after = ends.flat_map(|(list, at)| &list[*at + base.len()..]);
    Some(before.chain(base).chain(after).cloned().collect())
}

pub(crate) fn is_counter(key: &str) -> bool {
    key.starts_with("count")
}
