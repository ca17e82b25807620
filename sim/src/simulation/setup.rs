//! From a checked workload to a simulation at its start.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use framesim_models::frames::FrameSetting;
use framesim_models::heap::{HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::kernel::{BadSettings, Charges, Commit, Image, Kernel, KernelSettings, Layout};
use framesim_models::registry::BadOptions;
use framesim_models::{Address, Coins, Nanos};
use framesim_workloads::requests::{Arrivals, Requests};
use framesim_workloads::spec::{self, KernelMemory, OnRefusal, Program, Workload};
use framesim_workloads::streams::Domain;
use framesim_workloads::trace::TraceError;
use serde::{Deserialize, Serialize};

use super::Happened;
use super::costs::Costs;
use super::heaps::HeapTally;
use super::processors::Processors;
use super::tally::Tally;
use super::{Event, Machine, Simulation};
use crate::Registries;
use crate::digest::Trajectory;
use crate::queue::EventQueue;

/// What a run is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The workload, all checked.
    pub workload: Workload,
    /// Which of the runs with the same seed: the first is 0.
    pub replica: u32,
    /// Where the files of recorded traces are looked for.
    pub folder: PathBuf,
}

/// Why a workload cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No frame policy has that name.
    #[error("unknown policy `{0}` (`framesim list policies` names all)")]
    UnknownPolicy(String),
    /// No heap has that name.
    #[error("unknown heap `{0}` (`framesim list heaps` names all)")]
    UnknownHeap(String),
    /// Options of the frame policy.
    #[error("policy `{name}`: {options}")]
    PolicyOptions {
        /// The policy.
        name: String,
        /// What is wrong.
        options: BadOptions,
    },
    /// Options of a heap.
    #[error("heap `{name}`: {options}")]
    HeapOptions {
        /// The heap.
        name: String,
        /// What is wrong.
        options: BadOptions,
    },
    /// No group has a program of that name.
    #[error("group `{group}` runs program `{program}`, which the workload does not have")]
    UnknownProgram {
        /// The group.
        group: String,
        /// The program.
        program: String,
    },
    /// Memory of less than a frame.
    #[error("memory has {memory} bytes, less than one page of {page}")]
    NoFrames {
        /// Bytes of memory.
        memory: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// A recorded trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] BadSettings),
}

/// What processes of a group have in common, and how many came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) image: Image,
    pub(super) heap: HeapChoice,
    pub(super) thread_stack_bytes: u64,
    pub(super) on_refusal: OnRefusal,
    /// Processes of one arrival.
    pub(super) count: u64,
    pub(super) arrivals: Arrivals,
    /// What their heaps hold together.
    pub(super) heaps: HeapTally,
    /// Processes that came by themselves, and all that came.
    arrived: u64,
    processes: u32,
}

impl Group {
    /// The number of its next process, however it comes.
    pub(super) fn next_ordinal(&mut self) -> u32 {
        let ordinal = self.processes;
        self.processes += 1;
        ordinal
    }

    /// The number of the next process that arrives by itself.
    pub(super) fn next_arrived(&mut self) -> u64 {
        let ordinal = self.arrived;
        self.arrived += 1;
        ordinal
    }
}

impl Simulation {
    /// The simulation of a workload at its start: nothing has happened, the first arrivals are to come.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(setting: Setting, registries: &Registries) -> Result<Simulation, SetupError> {
        let workload = &setting.workload;
        let machine = &workload.machine;
        let requests = Requests::new(workload, setting.replica, &setting.folder)?;
        let kernel =
            kernel(machine, registries, requests.seeds().coins(Domain::Policy, "frames", machine.frames.name()))?;
        let groups = groups(workload, &requests, &registries.heaps)?;
        let tally = Tally::new(&kernel);
        let machine = Machine {
            kernel,
            processors: Processors::new(machine.cpus, machine.quantum.nanos()),
            costs: Costs::new(machine.costs, machine.page.0),
            out_of_memory: machine.out_of_memory,
        };
        let mut simulation = Simulation {
            requests,
            now: Nanos(0),
            over: None,
            queue: EventQueue::default(),
            at_hand: None,
            processes: Vec::new(),
            vacant: Vec::new(),
            by_pid: Vec::new(),
            groups,
            machine,
            waiting: VecDeque::new(),
            retried: None,
            kill_is_due: false,
            to_wake: None,
            trajectory: Trajectory::default(),
            tally,
            limits: workload.limits,
            blocks_most: workload.limits.live_blocks,
            last: Happened::NONE,
            heaps: Arc::new(registries.heaps.clone()),
            setting: Arc::new(setting),
        };
        simulation.schedule_first();
        Ok(simulation)
    }

    fn schedule_first(&mut self) {
        for group in 0..self.groups.len() {
            let group = u32::try_from(group).expect("a workload has fewer than 2^32 groups");
            if let Some(first) = self.next_arrival(group) {
                self.schedule(first, Event::Arrive(group));
            }
        }
        if let Some(until) = self.setting.workload.until {
            self.schedule(until.nanos(), Event::TimeOver);
        }
    }
}

fn kernel(machine: &spec::Machine, registries: &Registries, coins: Coins) -> Result<Kernel, SetupError> {
    let (memory, page) = (machine.memory.0, machine.page.0);
    let frames = memory.checked_div(page).filter(|&frames| frames > 0).ok_or(SetupError::NoFrames { memory, page })?;
    let name = machine.frames.name();
    let policy = registries.frames.build(name, &machine.frames, FrameSetting { frames, coins });
    let policy = policy.ok_or_else(|| SetupError::UnknownPolicy(name.to_owned()))?;
    let policy = policy.map_err(|options| SetupError::PolicyOptions { name: name.to_owned(), options })?;
    Ok(Kernel::new(name, policy, kernel_settings(machine))?)
}

fn kernel_settings(machine: &spec::Machine) -> KernelSettings {
    let page = machine.page.0;
    KernelSettings {
        page_bytes: page,
        cpus: machine.cpus,
        charges: match machine.kernel {
            KernelMemory::FreeOfCharge => Charges::FREE_OF_CHARGE,
            KernelMemory::Charged { stack, page_tables, objects } => Charges {
                kernel_stack_pages: stack.0.div_ceil(page),
                page_tables,
                object_bytes: if objects { Charges::default().object_bytes } else { 0 },
                thread_object_bytes: if objects { Charges::default().thread_object_bytes } else { 0 },
            },
        },
        layout: match machine.regions {
            spec::Regions::Contiguous => Layout::Contiguous,
            spec::Regions::Paged => Layout::Paged,
        },
        commit: match machine.commit {
            spec::Commit::OnTouch => Commit::OnTouch,
            spec::Commit::Eager => Commit::Eager,
        },
        reserved_frames: machine.reserved.0.div_ceil(page),
        libraries: machine.libraries.iter().map(|&(start, end)| (Address(start), Address(end))).collect(),
        log_changes: true,
    }
}

fn groups(workload: &Workload, requests: &Requests, heaps: &HeapRegistry) -> Result<Vec<Group>, SetupError> {
    let numbered = (0..).zip(&workload.processes);
    numbered.map(|(number, group)| group_of(group, workload, requests.arrivals(number), heaps)).collect()
}

fn group_of(
    group: &spec::Group,
    workload: &Workload,
    arrivals: Arrivals,
    heaps: &HeapRegistry,
) -> Result<Group, SetupError> {
    let (number, program) = program_of(group, workload)?;
    try_heap(&program.heap, heaps)?;
    let pages = |bytes: spec::Bytes| bytes.0.div_ceil(workload.machine.page.0);
    Ok(Group {
        image: Image {
            program: number,
            code_pages: pages(program.code),
            data_pages: pages(program.data),
            stack_pages: pages(program.stack),
            share_code: program.share_code,
        },
        heap: program.heap,
        thread_stack_bytes: program.thread_stack.0,
        on_refusal: group.on_refusal,
        count: group.count,
        arrivals,
        heaps: HeapTally::default(),
        arrived: 0,
        processes: 0,
    })
}

/// The program a group runs, and its number; 0 is the program without anything.
fn program_of(group: &spec::Group, workload: &Workload) -> Result<(u32, Program), SetupError> {
    let Some(name) = &group.program else {
        return Ok((0, Program::default()));
    };
    let found = (1..).zip(&workload.programs).find(|(_, (known, _))| *known == name);
    let unknown = || SetupError::UnknownProgram { group: group.name.clone(), program: name.clone() };
    found.map(|(number, (_, program))| (number, program.clone())).ok_or_else(unknown)
}

/// Builds a heap once, so that no process finds its options wrong.
fn try_heap(choice: &HeapChoice, heaps: &HeapRegistry) -> Result<(), SetupError> {
    let name = choice.name().to_owned();
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    match heaps.build(&name, choice, setting) {
        None => Err(SetupError::UnknownHeap(name)),
        Some(Err(options)) => Err(SetupError::HeapOptions { name, options }),
        Some(Ok(_)) => Ok(()),
    }
}
