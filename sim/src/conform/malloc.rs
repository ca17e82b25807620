//! Free-list cases: `free_list` against recorded allocations of a textbook heap of fixed size.
//!
//! A case is one JSON object:
//!
//! - the heap: `name`, `size` and `base` in bytes, `header`, `align` (`null`: none), `policy` (`BEST`, `WORST`, `FIRST`, `NEXT`),
//!   `list_order` (`ADDRSORT`, `SIZESORT+`, `SIZESORT-`, `INSERT-FRONT`, `INSERT-BACK`), `coalesce`;
//! - `ops`, each with the `free_list` after it, `[start, length]` in list order:
//!   `{"op": "alloc", "id", "size", "block", "user", "searched"}`, where `block` is the start of the piece taken, `user` the
//!   address the program gets (both `null` when refused) and `searched` the entries looked at;
//!   `{"op": "free", "id", "rc"}`, where `rc` is 0, or -1 when no such block is live.
//!
//! Source of such cases: the simulator of the free-space chapter of Arpaci-Dusseau, "Operating Systems: Three Easy Pieces".

use std::collections::BTreeMap;
use std::fmt::Display;

use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::free_list::{FreeList, FreeListOptions, Order, Policy};
use framesim_models::heap::{HeapAllocator, HeapSetting};
use framesim_models::registry::Model;
use framesim_models::{Address, Coins, ThreadId};
use serde::{Deserialize, Deserializer};

use super::{BadCase, Difference, Verdict};

/// End of the addresses a process has: a heap of a case lies below it.
const ADDRESSES_END: u64 = 1 << 46;

/// Plays one case, the text of its file.
///
/// # Errors
/// [`BadCase`] when the text is not a case as the [module page](self) describes it, or its heap cannot be built.
pub fn hold(text: &str) -> Result<Verdict, BadCase> {
    let case: Case = serde_json::from_str(text).map_err(|error| BadCase(format!("no malloc case: {error}")))?;
    let mut player = Player::new(&case)?;
    let mut differs = None;
    for (op, operation) in case.ops.iter().zip(1..) {
        if let Err(part) = player.play(op)? {
            differs = Some(Difference {
                operation,
                request: op.to_string(),
                field: part.field,
                expected: part.expected,
                found: part.found,
            });
            break;
        }
    }
    let model = FreeList::NAME.to_owned();
    Ok(Verdict { case: case.name, model, operations: case.ops.len() as u64, differs })
}

#[derive(Deserialize)]
struct Case {
    name: String,
    size: u64,
    base: u64,
    header: u64,
    align: Option<u64>,
    policy: CasePolicy,
    list_order: CaseOrder,
    coalesce: bool,
    ops: Vec<Op>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum CasePolicy {
    Best,
    Worst,
    First,
    Next,
}

#[derive(Clone, Copy, Deserialize)]
enum CaseOrder {
    #[serde(rename = "ADDRSORT")]
    Address,
    #[serde(rename = "SIZESORT+")]
    SizeUp,
    #[serde(rename = "SIZESORT-")]
    SizeDown,
    #[serde(rename = "INSERT-FRONT")]
    InsertFront,
    #[serde(rename = "INSERT-BACK")]
    InsertBack,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Op {
    Alloc {
        id: u64,
        size: u64,
        #[serde(deserialize_with = "present")]
        block: Option<u64>,
        #[serde(deserialize_with = "present")]
        user: Option<u64>,
        searched: u64,
        free_list: Vec<(u64, u64)>,
    },
    Free {
        id: u64,
        rc: i64,
        free_list: Vec<(u64, u64)>,
    },
}

/// A field that may be `null` and must be there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}

impl Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Op::Alloc { id, size, .. } => write!(f, "alloc {id}, {size} bytes"),
            Op::Free { id, .. } => write!(f, "free {id}"),
        }
    }
}

impl Case {
    fn options(&self) -> FreeListOptions {
        FreeListOptions {
            policy: match self.policy {
                CasePolicy::Best => Policy::Best,
                CasePolicy::Worst => Policy::Worst,
                CasePolicy::First => Policy::First,
                CasePolicy::Next => Policy::Next,
            },
            order: match self.list_order {
                CaseOrder::Address => Order::Address,
                CaseOrder::SizeUp => Order::SizeUp,
                CaseOrder::SizeDown => Order::SizeDown,
                CaseOrder::InsertFront => Order::InsertFront,
                CaseOrder::InsertBack => Order::InsertBack,
            },
            coalesce: self.coalesce,
            split: true,
            header_bytes: self.header,
            align_bytes: self.align.unwrap_or(1),
            arena_bytes: Some(self.size),
            ..FreeListOptions::default()
        }
    }
}

/// One answer that is not the recorded one.
struct Part {
    field: &'static str,
    expected: String,
    found: String,
}

struct Player {
    heap: FreeList,
    memory: FlatMemory,
    header: u64,
    /// Blocks by the case's id.
    live: BTreeMap<u64, Address>,
}

impl Player {
    fn new(case: &Case) -> Result<Player, BadCase> {
        if case.ops.is_empty() {
            return Err(BadCase(format!("case {} has no operations", case.name)));
        }
        let end = case.base.checked_add(case.size).filter(|&end| end <= ADDRESSES_END);
        if end.is_none() {
            let (name, size, base) = (&case.name, case.size, case.base);
            return Err(BadCase(format!("case {name}: {size} bytes at {base} end past {ADDRESSES_END}")));
        }
        // `free_list` flips no coins.
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let heap = FreeList::build(setting, &case.options())
            .map_err(|error| BadCase(format!("case {} has no such heap: {error}", case.name)))?;
        let memory = FlatMemory::at(Address(case.base));
        Ok(Player { heap, memory, header: case.header, live: BTreeMap::new() })
    }

    fn play(&mut self, op: &Op) -> Result<Result<(), Part>, BadCase> {
        match op {
            Op::Alloc { id, size, block, user, searched, free_list } => {
                if self.live.contains_key(id) {
                    return Err(BadCase(format!("{op}: block {id} is live already")));
                }
                let at = self.heap.malloc(ThreadId(0), *size, &mut self.memory).ok();
                self.live.extend(at.map(|at| (*id, at)));
                let found = at.map(|at| at.0 - self.header);
                Ok(equal("block", address(*block), address(found))
                    .and_then(|()| equal("user", address(*user), address(at.map(|at| at.0))))
                    .and_then(|()| equal("searched", searched.to_string(), self.heap.last_search().to_string()))
                    .and_then(|()| self.same_list(free_list)))
            }
            Op::Free { id, rc, free_list } => {
                let freed = self.live.remove(id).map(|at| self.heap.free(ThreadId(0), at, &mut self.memory));
                let found = if matches!(freed, Some(Ok(()))) { 0 } else { -1 };
                Ok(equal("rc", rc.to_string(), found.to_string()).and_then(|()| self.same_list(free_list)))
            }
        }
    }

    /// The free list, entry by entry in its order.
    fn same_list(&self, expected: &[(u64, u64)]) -> Result<(), Part> {
        let mut found = Vec::new();
        self.heap.for_each_free(&mut |at, bytes| found.push((at.0, bytes)));
        if found == expected {
            return Ok(());
        }
        let place = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
        equal("free_list", entry(expected, place), entry(&found, place))
    }
}

fn equal(field: &'static str, expected: String, found: String) -> Result<(), Part> {
    if expected == found { Ok(()) } else { Err(Part { field, expected, found }) }
}

fn address(at: Option<u64>) -> String {
    at.map_or_else(|| "null".to_owned(), |at| at.to_string())
}

fn entry(list: &[(u64, u64)], place: usize) -> String {
    match list.get(place) {
        Some((start, bytes)) => format!("[{start},{bytes}] as entry {}", place + 1),
        None => format!("{place} entries long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heap of 20 bytes at 1000 with two operations, one after the other.
    fn case(first: &str, second: &str) -> String {
        format!(
            r#"{{"name":"m","size":20,"base":1000,"header":4,"align":null,"policy":"FIRST","list_order":"ADDRSORT",
                "coalesce":true,"ops":[{first},{second}]}}"#
        )
    }

    const ALLOC: &str =
        r#"{"op":"alloc","id":0,"size":3,"block":1000,"user":1004,"searched":1,"free_list":[[1007,13]]}"#;
    const FREE: &str = r#"{"op":"free","id":0,"rc":0,"free_list":[[1000,20]]}"#;

    fn verdict(first: &str, second: &str) -> String {
        match hold(&case(first, second)) {
            Ok(verdict) => verdict.to_string(),
            Err(error) => format!("bad case: {error}"),
        }
    }

    #[test]
    fn a_case_that_is_equal_is_exact() {
        assert_eq!(verdict(ALLOC, FREE), "m free_list: exact, 2 operations");
    }

    #[test]
    fn names_the_first_operation_that_differs_and_in_what() {
        let changed = |from: &str, to: &str| verdict(&ALLOC.replace(from, to), &FREE.replace(from, to));
        assert_eq!(changed("1004", "1005"), "m free_list: operation 1 (alloc 0, 3 bytes): user is 1004, expected 1005");
        assert_eq!(
            changed("searched\":1", "searched\":2"),
            "m free_list: operation 1 (alloc 0, 3 bytes): searched is 1, expected 2"
        );
        assert_eq!(
            changed("[[1000,20]]", "[]"),
            "m free_list: operation 2 (free 0): free_list is [1000,20] as entry 1, expected 0 entries long"
        );
        assert_eq!(
            changed("[1000,20]", "[1000,7],[1007,13]"),
            "m free_list: operation 2 (free 0): free_list is [1000,20] as entry 1, expected [1000,7] as entry 1"
        );
        assert_eq!(verdict(FREE, ALLOC), "m free_list: operation 1 (free 0): rc is -1, expected 0");
    }

    #[test]
    fn what_is_no_case_is_said_and_never_a_verdict() {
        assert_eq!(verdict(ALLOC, ALLOC), "bad case: alloc 0, 3 bytes: block 0 is live already");
        let broken = |from: &str, to: &str| hold(&case(ALLOC, FREE).replacen(from, to, 1)).unwrap_err().to_string();
        for (from, to, says) in [
            ("FIRST", "LAST", "unknown variant `LAST`, expected one of `BEST`, `WORST`, `FIRST`, `NEXT`"),
            ("\"block\":1000,", "", "missing field `block`"),
            ("\"size\":20", "\"size\":-20", "invalid value: integer `-20`"),
            ("\"size\":20", "\"size\":0", "case m has no such heap: `arena_bytes` is 0"),
            ("null", "0", "case m has no such heap: `align_bytes` is 0"),
            ("1000", "18446744073709551615", "case m: 20 bytes at 18446744073709551615 end past"),
            ("}]}", "}]", "no malloc case: EOF while parsing"),
        ] {
            let error = broken(from, to);
            assert!(error.contains(says), "{to}: {error}");
        }
        let none = case(ALLOC, FREE).replace(ALLOC, "").replace(FREE, "").replace("[,]", "[]");
        assert_eq!(hold(&none).unwrap_err().to_string(), "case m has no operations");
    }
}
