//! The frame map of a simulation, by what frames are used for.

use framesim_models::kernel::Region;

use super::map::{self, Holder, Scale};
use crate::simulation::Simulation;

/// At most sixteen lines.
pub const SCREEN: Scale = Scale::Lines(16);
/// A letter a frame.
pub const ALL: Scale = Scale::Frame;

/// Letters of what frames are used for; number 0 is free.
#[must_use]
pub fn holders() -> Vec<Holder> {
    let free = std::iter::once(Holder::new('.', "free"));
    free.chain(Region::ALL.iter().map(|&region| Holder::new(sign(region), region.name()))).collect()
}

/// The letter of what a frame is used for.
#[must_use]
pub fn sign(region: Region) -> char {
    match region {
        Region::Code => 'C',
        Region::Data => 'D',
        Region::Stack => 'S',
        Region::Heap => 'H',
        Region::Mmap => 'M',
        Region::Taken => 'N',
        Region::KernelStack => 'K',
        Region::PageTable => 'T',
        Region::Slab => 'O',
        Region::Reserved => 'R',
    }
}

/// The map with its legend; the first line says what a letter stands for.
#[must_use]
pub fn draw(simulation: &Simulation, scale: Scale) -> String {
    let frames = simulation.kernel().frame_map();
    let mut runs = Vec::new();
    let mut at = 0;
    frames.for_each_run(|owner, run| {
        runs.push((0, run.start.0 - at));
        let holder = Region::ALL.iter().position(|region| *region == owner.region).expect("every region has a letter");
        runs.push((holder + 1, run.frames));
        at = run.end().0;
    });
    runs.push((0, frames.frames() - at));
    map::draw(&holders(), runs, frames.frames(), scale)
}
