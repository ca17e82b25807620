use std::collections::BTreeMap;

use framesim_models::Nanos;
use proptest::prelude::*;

use super::*;

/// The oracle: a sorted map of what is to come, and the names given out.
#[derive(Default)]
struct Sorted {
    events: BTreeMap<(u64, u8, u64), u32>,
    names: Vec<(EventId, (u64, u8, u64))>,
    sequence: u64,
    now: u64,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Push { after: u64, priority: u8 },
    Pop,
    Peek,
    Cancel { nth: usize },
}

fn any_act() -> impl Strategy<Value = Act> {
    let after = prop_oneof![
        4 => 0..1000_u64,
        2 => Just(0),
        1 => 0..100_000_000_u64,
        1 => 0..(1_u64 << 62),
    ];
    prop_oneof![
        6 => (after, 0..3_u8).prop_map(|(after, priority)| Act::Push { after, priority }),
        5 => Just(Act::Pop),
        1 => Just(Act::Peek),
        2 => any::<prop::sample::Index>().prop_map(|nth| Act::Cancel { nth: nth.index(1 << 16) }),
    ]
}

impl Sorted {
    fn push(&mut self, queue: &mut EventQueue<u32>, after: u64, priority: u8) {
        let Some(time) = self.now.checked_add(after).filter(|&time| time < u64::MAX) else { return };
        let event = u32::try_from(self.sequence).expect("short tests");
        let key = (time, priority, self.sequence);
        self.names.push((queue.push(Nanos(time), priority, event), key));
        self.events.insert(key, event);
        self.sequence += 1;
    }

    fn pop(&mut self) -> Option<(u64, u8, u64, u32)> {
        let ((time, priority, sequence), event) = self.events.pop_first()?;
        self.now = time;
        Some((time, priority, sequence, event))
    }

    fn cancel(&mut self, queue: &mut EventQueue<u32>, nth: usize) -> Result<(), TestCaseError> {
        let Some(&(id, key)) = self.names.get(nth % self.names.len().max(1)) else { return Ok(()) };
        prop_assert_eq!(queue.get(id).is_some(), self.events.contains_key(&key));
        prop_assert_eq!(queue.cancel(id), self.events.remove(&key).is_some());
        Ok(())
    }
}

fn popped(queue: &mut EventQueue<u32>) -> Option<(u64, u8, u64, u32)> {
    queue.pop().map(|due| (due.time.0, due.priority, due.sequence, due.event))
}

fn agrees(acts: &[Act]) -> Result<(), TestCaseError> {
    let (mut queue, mut oracle) = (EventQueue::default(), Sorted::default());
    for &act in acts {
        match act {
            Act::Push { after, priority } => {
                oracle.push(&mut queue, after, priority);
            }
            Act::Pop => prop_assert_eq!(popped(&mut queue), oracle.pop()),
            Act::Peek => {
                let next = oracle.events.first_key_value().map(|(&(time, priority, _), _)| (Nanos(time), priority));
                prop_assert_eq!(queue.next_due(), next);
            }
            Act::Cancel { nth } => oracle.cancel(&mut queue, nth)?,
        }
        prop_assert_eq!(queue.len(), oracle.events.len() as u64);
        queue.check().map_err(|broken| TestCaseError::fail(format!("{broken:?}")))?;
    }
    while let Some(expected) = oracle.pop() {
        prop_assert_eq!(popped(&mut queue), Some(expected));
    }
    prop_assert_eq!(popped(&mut queue), None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_like_a_sorted_map(acts in prop::collection::vec(any_act(), 1..300)) {
        agrees(&acts)?;
    }
}

/// A long run in steady state, for each law of gaps that is hard on some bucketed queue.
fn holds(pending: u32, mut gap: impl FnMut(u64) -> u64) {
    let (mut queue, mut oracle) = (EventQueue::default(), Sorted::default());
    let mut coins = framesim_models::Coins::from_key([3; 32]);
    for _ in 0..pending {
        oracle.push(&mut queue, gap(coins.next_u64()), 2);
    }
    for step in 0..20_000 {
        let expected = oracle.pop();
        assert_eq!(popped(&mut queue), expected, "step {step}");
        oracle.push(&mut queue, gap(coins.next_u64()), 2);
    }
    queue.check().expect("the queue is sound");
}

#[test]
fn holds_thousands_of_events_of_any_spacing_in_order() {
    holds(3000, |coin| coin % 1000);
    holds(3000, |_| 500);
    holds(3000, |coin| if coin % 10 == 0 { coin >> 40 } else { 0 });
    holds(3000, |coin| 1 << (coin % 40));
    holds(3000, |coin| if coin % 1000 == 0 { 1 << 50 } else { coin % 64 });
    holds(40, |coin| coin % 3);
    holds(1, |coin| coin % 100);
}

#[test]
fn events_of_one_time_leave_by_class_then_as_they_came() {
    let mut queue = EventQueue::default();
    for (priority, event) in [(1, "d"), (0, "a"), (1, "e"), (0, "b"), (0, "c")] {
        queue.push(Nanos(7), priority, event);
    }
    let order: String = std::iter::from_fn(|| queue.pop()).map(|due| due.event).collect();
    assert_eq!(order, "abcde");
}

#[test]
fn a_million_events_of_one_time_leave_as_they_came() {
    let mut queue = EventQueue::default();
    for event in 0..1_000_000_u32 {
        queue.push(Nanos(7), 0, event);
    }
    for event in 0..1_000_000 {
        assert_eq!(queue.pop().map(|due| due.event), Some(event));
        queue.push(Nanos(7), 0, 1_000_000 + event);
    }
}

#[test]
fn a_cancelled_event_is_gone_and_its_name_stays_dead() {
    let mut queue = EventQueue::default();
    let first = queue.push(Nanos(1), 0, 1);
    assert!(queue.cancel(first));
    assert!(!queue.cancel(first));
    assert_eq!(queue.pop(), None);
    let second = queue.push(Nanos(1), 0, 2);
    assert!(!queue.cancel(first), "the old name does not reach the new event");
    assert_eq!(queue.pop().map(|due| due.event), Some(2));
    assert!(!queue.cancel(second), "it has left");
}

#[test]
fn cancelled_events_do_not_pile_up() {
    let mut queue = EventQueue::default();
    queue.push(Nanos(0), 0, 0);
    for round in 0..100_000 {
        let id = queue.push(Nanos(1_000_000 + round), 0, 1);
        assert!(queue.cancel(id));
    }
    assert!(queue.slots.len() < 200, "{} slots for one event", queue.slots.len());
}

#[test]
#[should_panic(expected = "no event is scheduled in the past")]
fn the_past_is_refused() {
    let mut queue = EventQueue::default();
    queue.push(Nanos(10), 0, ());
    queue.pop();
    queue.push(Nanos(9), 0, ());
}

#[test]
fn a_queue_read_back_goes_on_where_it_was() {
    let mut queue = EventQueue::default();
    let ids: Vec<EventId> = (0..500_u64).map(|n| queue.push(Nanos(n * n % 977), 1, n)).collect();
    for _ in 0..100 {
        queue.pop();
    }
    let bytes = postcard::to_stdvec(&queue).expect("a queue can be written");
    let mut again: EventQueue<u64> = postcard::from_bytes(&bytes).expect("a queue can be read");
    assert_eq!(queue.cancel(ids[499]), again.cancel(ids[499]));
    loop {
        let (here, there) = (queue.pop(), again.pop());
        assert_eq!(here, there);
        if here.is_none() {
            break;
        }
    }
}
