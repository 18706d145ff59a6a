//! The way from a leaf to what is trusted, out of certificates in any order.

use std::cmp::Reverse;
use std::collections::VecDeque;

use jiff::Timestamp;

use crate::certificate::Parsed;

/// A chain in order, and what it ends at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What a server shows: the leaf, then each issuer. Without the root, unless the leaf is one.
    pub served: Vec<Parsed>,
    /// The self-signed certificate at its end, where there is one.
    pub root: Option<Parsed>,
    /// Certificates that are no part of it.
    pub aside: Vec<Parsed>,
}

/// Finds the shortest way from `leaf` to a self-signed certificate: of those that are valid at `now`, else of all. Where none leads
/// there, the longest that can be had step by step. The same certificates in another order, or more than once, make the same chain:
/// where one name has several certificates (an authority that is also signed by another one), those that are valid at `now` come
/// first, then those that end last.
pub fn order(leaf: &Parsed, others: &[Parsed], now: Timestamp) -> Chain {
    let mut pool: Vec<&Parsed> = others.iter().filter(|other| *other != leaf).collect();
    pool.sort_by_key(|one| {
        (
            !one.is_valid_at(now),
            Reverse(one.facts().not_after),
            one.certificate().0.clone(),
        )
    });
    pool.dedup();
    if leaf.is_self_signed() {
        let aside = pool.into_iter().cloned().collect();
        return Chain {
            served: vec![leaf.clone()],
            root: Some(leaf.clone()),
            aside,
        };
    }
    // The valid ones stand first.
    let valid = pool.partition_point(|one| one.is_valid_at(now));
    let way = to_root(leaf, &pool[..valid])
        .or_else(|| to_root(leaf, &pool))
        .unwrap_or_else(|| onwards(leaf, &pool));
    let aside = (0..pool.len())
        .filter(|at| !way.contains(at))
        .map(|at| pool[at].clone())
        .collect();
    let mut served = vec![leaf.clone()];
    served.extend(way.iter().map(|at| pool[*at].clone()));
    let root = served.pop_if(|last| last.is_self_signed());
    Chain { served, root, aside }
}

/// A search in breadth; each certificate is reached once, so rings and crossings end.
fn to_root(leaf: &Parsed, pool: &[&Parsed]) -> Option<Vec<usize>> {
    let mut reached: Vec<Option<Option<usize>>> = vec![None; pool.len()];
    let mut queue: VecDeque<Option<usize>> = VecDeque::from([None]);
    while let Some(from) = queue.pop_front() {
        let subject = from.map_or(leaf, |at| pool[at]);
        for (at, issuer) in pool.iter().enumerate() {
            if reached[at].is_some() || !subject.is_signed_by(issuer) {
                continue;
            }
            let is_root = issuer.is_self_signed();
            // A root need not say that it is an authority: those of X.509 version 1 cannot, and what is trusted is not asked.
            if !is_root && !issuer.facts().is_ca {
                continue;
            }
            reached[at] = Some(from);
            if is_root {
                let mut way = vec![at];
                let mut before = from;
                while let Some(at) = before {
                    way.push(at);
                    before = reached[at].flatten();
                }
                way.reverse();
                return Some(way);
            }
            queue.push_back(Some(at));
        }
    }
    None
}

fn onwards(leaf: &Parsed, pool: &[&Parsed]) -> Vec<usize> {
    let mut way: Vec<usize> = vec![];
    loop {
        let subject = way.last().map_or(leaf, |at| pool[*at]);
        let next = pool
            .iter()
            .enumerate()
            .find(|(at, issuer)| !way.contains(at) && issuer.facts().is_ca && subject.is_signed_by(issuer));
        match next {
            Some((at, _)) => way.push(at),
            None => return way,
        }
    }
}
