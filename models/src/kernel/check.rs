//! The invariants of the kernel. Three records of the same facts are compared that are kept apart: the policy's free runs,
//! the frame map, and what processes, slabs and scripts hold.

use super::image::{Loaded, Part};
use super::page_table::long;
use super::process::{Body, Live};
use super::space::TableId;
use super::{Kernel, Owner, Region};
use crate::frames::{FrameNumber, FrameRun};
use crate::{Pid, Violation, ensure};

/// Somebody says that they use these frames.
struct Claim {
    run: FrameRun,
    region: Region,
    /// `None` for what several processes share: the frame map names the one it was made for.
    pid: Option<Pid>,
}

impl Kernel {
    /// Full check of the invariants the module page names. O(memory in use).
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.allocator().check()?;
        self.check_tiling()?;
        self.check_spaces()?;
        self.check_claims()?;
        self.check_counts()
    }

    /// Free and taken runs cover memory without gap and overlap.
    fn check_tiling(&self) -> Result<(), Violation> {
        let mut runs = Vec::new();
        self.allocator().for_each_free(&mut |run| runs.push(run));
        let free: u64 = runs.iter().map(|run| run.frames).sum();
        ensure(free == self.allocator().free_frames(), || format!("{free} frames are free, not as many as counted"))?;
        self.frame_map().for_each_run(|_, run| runs.push(run));
        runs.sort_unstable();
        let mut next = FrameNumber(0);
        for run in runs {
            ensure(run.start == next, || {
                format!("{run} follows on frame {next}: a frame is free and taken, or neither")
            })?;
            next = run.end();
        }
        let total = self.allocator().total_frames();
        ensure(next.0 == total, || format!("free and taken runs end at {next}, memory at {total}"))
    }

    /// Address spaces are sound, and agree with the page tables.
    fn check_spaces(&self) -> Result<(), Violation> {
        for pid in self.pids() {
            let Body::Live(live) = &self.tables.process(pid).body else { continue };
            live.space.check()?;
            let mut pages = 0;
            for (page, _) in live.table.iter() {
                ensure(live.space.is_present(page), || format!("process {pid}: page {page:#x} has a frame, unasked"))?;
                pages += 1;
            }
            let resident = live.space.resident_pages();
            ensure(pages == resident, || format!("process {pid}: {pages} pages with a frame, {resident} resident"))?;
            self.check_tables(pid, live)?;
        }
        Ok(())
    }

    fn check_tables(&self, pid: Pid, live: &Live) -> Result<(), Violation> {
        if !self.tables.settings.charges.page_tables {
            return Ok(());
        }
        let mut needed: Vec<TableId> = live.space.each_table().collect();
        needed.sort_unstable();
        let have: Vec<TableId> = live.table.tables().map(|(table, _)| table).collect();
        ensure(needed == have, || format!("process {pid}: page tables {have:?} have frames, {needed:?} exist"))
    }

    /// Each used frame of the map is claimed by the one it names, and by nobody else.
    fn check_claims(&self) -> Result<(), Violation> {
        let mut claims = self.claims();
        claims.sort_unstable_by_key(|claim| claim.run);
        let mut used = Vec::new();
        self.frame_map().for_each_used(|owner, run| {
            if owner.region != Region::Reserved {
                used.extend((run.start.0..run.end().0).map(|frame| (frame, owner)));
            }
        });
        let mut used = used.into_iter();
        for Claim { run, region, pid } in claims {
            for frame in run.start.0..run.end().0 {
                let found = used.next();
                let fits = found.is_some_and(|(at, owner): (u64, Owner)| {
                    at == frame && owner.region == region && pid.is_none_or(|pid| pid == owner.pid)
                });
                ensure(fits, || format!("frame {frame} is {region:?} of {pid:?}; the map goes on with {found:?}"))?;
            }
        }
        let unclaimed = used.next();
        ensure(unclaimed.is_none(), || format!("{unclaimed:?} of the frame map belongs to nobody"))
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for pid in self.pids() {
            let loaded = self.tables.loaded_of(pid);
            match &self.tables.process(pid).body {
                Body::Quiet(frames) => {
                    claim_parts(&loaded.parts, &frames.list(&loaded.parts), Some(pid), &mut claims);
                }
                Body::Live(live) => self.claim_live(pid, loaded, live, &mut claims),
            }
        }
        for (&image, code) in &self.tables.shared {
            claim_parts(&self.tables.loaded[image.index()].shared_parts, &code.frames, None, &mut claims);
        }
        self.claim_threads(&mut claims);
        let slabs = self.tables.slabs.iter().chain(self.tables.thread_slabs.iter());
        claims.extend(slabs.map(|run| Claim { run, region: Region::Slab, pid: None }));
        for (&(pid, start), &(_, asked)) in &self.tables.taken {
            let run = FrameRun { start: long(start), frames: u64::from(asked) };
            claims.push(Claim { run, region: Region::Taken, pid: Some(Pid(pid)) });
        }
        claims
    }

    fn claim_threads(&self, claims: &mut Vec<Claim>) {
        for (&(pid, _), thread) in &self.tables.threads {
            let runs = thread.stack_runs(&self.tables.settings);
            claims.extend(runs.map(|run| Claim { run, region: Region::KernelStack, pid: Some(Pid(pid)) }));
        }
    }

    fn claim_live(&self, pid: Pid, loaded: &Loaded, live: &Live, claims: &mut Vec<Claim>) {
        let shared = self.shared_pages(self.tables.process(pid).image);
        for (page, frame) in live.table.iter().filter(|&(page, _)| !shared.contains(page)) {
            let Some(area) = live.space.area(page) else { continue };
            let run = FrameRun { start: frame, frames: 1 };
            claims.push(Claim { run, region: self.region_of(pid, area, page), pid: Some(pid) });
        }
        for (_, frame) in live.table.tables() {
            let run = FrameRun { start: frame, frames: 1 };
            claims.push(Claim { run, region: Region::PageTable, pid: Some(pid) });
        }
        let own: Vec<Part> = loaded.parts.iter().filter(|part| part.is_kernels_own()).copied().collect();
        claim_parts(&own, &live.kernel_runs, Some(pid), claims);
    }

    /// Totals are the sums of what they count.
    fn check_counts(&self) -> Result<(), Violation> {
        let tables: u64 = self.pids().map(|pid| self.pages_of(pid).page_tables).sum();
        ensure(tables == self.page_tables(), || format!("{tables} page tables, {} counted", self.page_tables()))?;
        let objects = self.pids().filter(|&pid| self.tables.process(pid).object.is_some()).count() as u64;
        let objects = objects + self.tables.threads.values().filter(|thread| thread.object.is_some()).count() as u64;
        let orphan = self.tables.threads.keys().find(|(pid, _)| !self.is_live(Pid(*pid)));
        ensure(orphan.is_none(), || format!("{orphan:?} is a thread of no process"))?;
        ensure(objects == self.kernel_objects(), || format!("{objects} objects, {} counted", self.kernel_objects()))?;
        let mut taken = [0; Region::ALL.len()];
        self.frame_map().for_each_run(|owner, run| taken[owner.region as usize] += run.frames);
        for region in Region::ALL {
            let (found, counted) = (taken[region as usize], self.frame_map().taken_for(region));
            ensure(found == counted, || format!("{found} frames for {}, {counted} counted", region.name()))?;
        }
        let held = self.frames.taken - self.frames.given;
        let map = self.frame_map().taken();
        ensure(held == map, || format!("{held} frames are out by the log, {map} by the map"))?;
        for (&image, code) in &self.tables.shared {
            let users = self.pids().filter(|&pid| self.tables.process(pid).image == image).count() as u64;
            ensure(users == code.users, || format!("{users} users of shared code, {} counted", code.users))?;
        }
        let pages = self.pids().map(|pid| self.pages_of(pid));
        let lazy_sane = pages.into_iter().all(|pages| pages.lazily_freed <= pages.resident);
        ensure(lazy_sane, || "more pages are lazily freed than resident".to_owned())
    }
}

fn claim_parts(parts: &[Part], frames: &[u32], pid: Option<Pid>, claims: &mut Vec<Claim>) {
    for (part, &frame) in parts.iter().zip(frames) {
        let run = FrameRun { start: long(frame), frames: part.frames };
        claims.push(Claim { run, region: part.region(), pid });
    }
}
