//! Thread caches (`ThreadCache`): a list of objects for each class, and a budget of bytes that threads take from each other.

use serde::{Deserialize, Serialize};

use super::central::Central;
use super::classes::{CLASSES, Class};
use super::objects::Object;
use super::tables::Record;
use crate::heap::{OutOfMemory, SystemMemory};
use crate::{ThreadId, index};

/// Budget that changes hands at once (`kStealAmount`).
const SHARE_BYTES: i64 = 64 << 10;
/// Budget of a new thread when none is left; only threads with more can lose some (`kMinThreadCacheSize`).
pub(super) const BUDGET_MIN_BYTES: i64 = 512 << 10;
/// Other threads that are asked for budget at one time.
const THREADS_ASKED: u32 = 10;
/// Longest that a list may become (`kMaxDynamicFreeListLength`).
const LENGTH_MAX: u32 = 8192;
/// A list that was too long so many times and once more becomes shorter (`kMaxOverages`).
const OVERAGES_MAX: u32 = 3;

/// Objects of one class in a thread's cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct List {
    /// The last one is popped first.
    pub objects: Vec<Object>,
    /// Objects it may have.
    length_max: u32,
    /// The fewest it had since the last scavenge.
    low_water: u32,
    /// Times that it was too long.
    overages: u32,
}

impl List {
    const fn new() -> List {
        List { objects: Vec::new(), length_max: 1, low_water: 0, overages: 0 }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Object> {
        let object = self.objects.pop()?;
        self.note_length();
        Some(object)
    }

    /// Adds an object; whether the list is too long then.
    #[inline]
    fn push(&mut self, object: Object) -> bool {
        self.objects.push(object);
        self.length() > self.length_max
    }

    #[inline]
    fn note_length(&mut self) {
        self.low_water = self.low_water.min(self.length());
    }

    #[inline]
    fn length(&self) -> u32 {
        u32::try_from(self.objects.len()).unwrap_or(u32::MAX)
    }

    /// The list was empty.
    fn lengthen(&mut self, batch: u32) {
        self.length_max = if self.length_max < batch {
            self.length_max + 1
        } else {
            let longer = (self.length_max + batch).min(LENGTH_MAX);
            longer - longer % batch
        };
    }

    /// The list was too long.
    fn adapt(&mut self, batch: u32) {
        if self.length_max < batch {
            self.length_max += 1;
        } else if self.length_max > batch {
            self.overages += 1;
            if self.overages > OVERAGES_MAX {
                self.length_max -= batch;
                self.overages = 0;
            }
        }
    }
}

/// The cache of one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cache {
    /// By class.
    pub lists: Vec<List>,
    /// Bytes of all objects.
    pub bytes: i64,
    /// It scavenges when it has more.
    pub budget: i64,
    /// The thread that came before this one, and the one that came after.
    older: u32,
    newer: u32,
}

/// No cache.
const NONE: u32 = u32::MAX;

impl Cache {
    #[inline]
    pub fn pop(&mut self, class: u8) -> Option<Object> {
        let object = self.lists[usize::from(class)].pop()?;
        self.bytes -= bytes_of(class);
        Some(object)
    }

    /// Takes an object from the central list, and some more along (`FetchFromCentralCache`).
    fn fetch(&mut self, class: u8, central: &mut Central, os: &mut dyn SystemMemory) -> Result<Object, OutOfMemory> {
        let batch = CLASSES.get(class).batch;
        let list = &mut self.lists[usize::from(class)];
        central.remove(class, list.length_max.min(batch), &mut list.objects, os);
        let first = list.objects.pop().ok_or(OutOfMemory)?;
        self.bytes += bytes_of(class) * i64::from(list.length());
        list.lengthen(batch);
        Ok(first)
    }

    /// Takes an object back; whether the cache has more than its budget then.
    #[inline]
    fn push(&mut self, class: u8, object: Object, central: &mut Central, os: &mut dyn SystemMemory) -> bool {
        let is_too_long = self.lists[usize::from(class)].push(object);
        self.bytes += bytes_of(class);
        if is_too_long {
            let batch = CLASSES.get(class).batch;
            self.give_back(class, batch, central, os);
            self.lists[usize::from(class)].adapt(batch);
        }
        self.bytes > self.budget
    }

    /// Gives at most `count` objects to the central list, in batches and what is left (`ReleaseToCentralCache`).
    fn give_back(&mut self, class: u8, count: u32, central: &mut Central, os: &mut dyn SystemMemory) {
        let &Class { batch, .. } = CLASSES.get(class);
        let list = &mut self.lists[usize::from(class)];
        let mut left = count.min(list.length());
        self.bytes -= bytes_of(class) * i64::from(left);
        while left > 0 {
            let group = left.min(batch);
            central.insert(class, group, &mut list.objects, os);
            list.note_length();
            left -= group;
        }
    }

    /// Gives back half of what was not needed since the last time (`Scavenge`).
    fn scavenge(&mut self, central: &mut Central, os: &mut dyn SystemMemory) {
        for class in 0..CLASSES.count() {
            let batch = CLASSES.get(class).batch;
            let low_water = self.lists[usize::from(class)].low_water;
            if low_water > 0 {
                self.give_back(class, (low_water / 2).max(1), central, os);
                let list = &mut self.lists[usize::from(class)];
                if list.length_max > batch {
                    list.length_max = (list.length_max - batch).max(batch);
                }
            }
            let list = &mut self.lists[usize::from(class)];
            list.low_water = list.length();
        }
    }
}

fn bytes_of(class: u8) -> i64 {
    CLASSES.get(class).bytes.cast_signed()
}

/// The caches of all threads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Threads {
    /// Caches of threads that have ended stay, empty, for threads to come.
    caches: Vec<Cache>,
    spare: Vec<u32>,
    /// By thread: its cache.
    of_thread: Vec<u32>,
    newest: u32,
    /// The thread that is asked for budget next.
    asked_next: u32,
    /// Budget that no thread has. Below zero when threads got theirs although none was left.
    pub unclaimed: i64,
}

impl Threads {
    pub fn new(total_bytes: i64) -> Threads {
        Threads {
            caches: Vec::new(),
            spare: Vec::new(),
            of_thread: Vec::new(),
            newest: NONE,
            asked_next: NONE,
            unclaimed: total_bytes,
        }
    }

    /// The cache of a thread that has one.
    #[inline]
    pub fn cache(&mut self, thread: ThreadId) -> Option<&mut Cache> {
        let &cache = self.of_thread.get(index(thread.0.into()))?;
        self.caches.get_mut(index(cache.into()))
    }

    /// Gives a thread its cache if it has none.
    pub fn meet(
        &mut self,
        thread: ThreadId,
        central: &mut Central,
        os: &mut dyn SystemMemory,
    ) -> Result<(), OutOfMemory> {
        if self.cache(thread).is_some() {
            return Ok(());
        }
        let cache = self.new_cache(central, os)?;
        let place = index(thread.0.into());
        if place >= self.of_thread.len() {
            self.of_thread.resize(place + 1, NONE);
        }
        self.of_thread[place] = cache;
        Ok(())
    }

    /// An object of a class, through the cache of a thread that has one.
    pub fn take(
        &mut self,
        thread: ThreadId,
        class: u8,
        central: &mut Central,
        os: &mut dyn SystemMemory,
    ) -> Result<Object, OutOfMemory> {
        let cache = self.cache(thread).expect("a thread that was met has a cache");
        match cache.pop(class) {
            Some(object) => Ok(object),
            None => cache.fetch(class, central, os),
        }
    }

    /// Gives an object to the cache of the thread, or to its central list when the thread has no cache yet.
    #[inline]
    pub fn give(
        &mut self,
        thread: ThreadId,
        class: u8,
        object: Object,
        central: &mut Central,
        os: &mut dyn SystemMemory,
    ) {
        let Some(cache) = self.cache(thread) else {
            return central.release(class, object, os);
        };
        if cache.push(class, object, central, os) {
            cache.scavenge(central, os);
            let number = self.of_thread[index(thread.0.into())];
            self.raise_budget(number);
        }
    }

    /// A thread ends: its objects go to the central lists, its budget to nobody (`DeleteCache`).
    pub fn end(&mut self, thread: ThreadId, central: &mut Central, os: &mut dyn SystemMemory) {
        let Some(cache) = self.cache(thread) else { return };
        for class in 0..CLASSES.count() {
            let length = cache.lists[usize::from(class)].length();
            cache.give_back(class, length, central, os);
        }
        let number = std::mem::replace(&mut self.of_thread[index(thread.0.into())], NONE);
        let &Cache { older, newer, budget, .. } = self.get(number);
        match newer {
            NONE => self.newest = older,
            newer => self.get_mut(newer).older = older,
        }
        if older != NONE {
            self.get_mut(older).newer = newer;
        }
        if self.asked_next == number {
            self.asked_next = older;
        }
        if self.asked_next == NONE {
            self.asked_next = self.newest;
        }
        self.unclaimed += budget;
        self.get_mut(number).budget = 0;
        self.spare.push(number);
    }

    /// The caches of threads that live, the newest first.
    pub fn live(&self) -> impl Iterator<Item = &Cache> {
        let known = |cache: u32| (cache != NONE).then(|| self.get(cache));
        std::iter::successors(known(self.newest), move |cache| known(cache.older))
    }

    fn get(&self, cache: u32) -> &Cache {
        &self.caches[index(cache.into())]
    }

    fn get_mut(&mut self, cache: u32) -> &mut Cache {
        &mut self.caches[index(cache.into())]
    }

    fn new_cache(&mut self, central: &mut Central, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        if self.spare.is_empty() {
            central.pages.tables.take(Record::Cache, os)?;
        }
        let lists = || vec![List::new(); CLASSES.count().into()];
        let cache = Cache { lists: lists(), bytes: 0, budget: 0, older: NONE, newer: NONE };
        let number = self.spare.pop().unwrap_or_else(|| {
            self.caches.push(cache.clone());
            u32::try_from(self.caches.len() - 1).expect("a process has fewer than 2^32 threads")
        });
        *self.get_mut(number) = cache;
        self.raise_budget(number);
        if self.get(number).budget == 0 {
            self.get_mut(number).budget = BUDGET_MIN_BYTES;
            self.unclaimed -= BUDGET_MIN_BYTES;
        }
        self.get_mut(number).older = self.newest;
        match self.newest {
            NONE => self.asked_next = number,
            newest => self.get_mut(newest).newer = number,
        }
        self.newest = number;
        Ok(number)
    }

    /// More budget for a cache: what nobody has, else from another thread (`IncreaseCacheLimitLocked`).
    fn raise_budget(&mut self, taker: u32) {
        if self.unclaimed > 0 {
            self.unclaimed -= SHARE_BYTES;
            self.get_mut(taker).budget += SHARE_BYTES;
            return;
        }
        for _ in 0..THREADS_ASKED {
            if self.asked_next == NONE {
                self.asked_next = self.newest;
            }
            let asked = self.asked_next;
            if asked == NONE {
                return;
            }
            self.asked_next = self.get(asked).older;
            if asked != taker && self.get(asked).budget > BUDGET_MIN_BYTES {
                self.get_mut(asked).budget -= SHARE_BYTES;
                self.get_mut(taker).budget += SHARE_BYTES;
                return;
            }
        }
    }
}
