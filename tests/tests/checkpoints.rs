//! Every workload of the library goes on from a checkpoint to the same end.

use framesim::simulation::Simulation;
use framesim::{Registries, open};
use framesim_workloads::library::LIBRARY;

#[test]
fn every_workload_of_the_library_goes_on_from_a_checkpoint_to_the_same_end() {
    let registries = Registries::default();
    for shipped in LIBRARY {
        let file = format!("../{}", shipped.path);
        let mut whole = open(&file, &registries).unwrap_or_else(|error| panic!("{file}: {error}"));
        // The state after as many events as the last power of four.
        let (mut next, mut saved) = (1, whole.save());
        while whole.step().unwrap_or_else(|error| panic!("{file}: {error}")).is_some() {
            if whole.events() == next {
                saved = whole.save();
                next *= 4;
            }
        }
        let mut resumed = Simulation::restore(&saved, &registries).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(resumed.events(), next / 4, "{file}");
        resumed.run().unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(resumed.digest(), whole.digest(), "{file}");
        assert_eq!(resumed.summary(), whole.summary(), "{file}");
    }
}
