//! The workload files that come with framesim, as text: they can be listed and run without the repository.

/// One file of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Where it is in the repository: `workloads/textbook/sixteen_frames.ron`.
    pub path: &'static str,
    /// What it says.
    pub text: &'static str,
}

impl Shipped {
    /// The file's name without folder and ending: `sixteen_frames`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let file = self.path.rsplit_once('/').map_or(self.path, |(_, file)| file);
        file.strip_suffix(".ron").unwrap_or(file)
    }
}

macro_rules! shipped {
    ($($path:literal),* $(,)?) => {
        &[$(Shipped { path: concat!("workloads/", $path), text: include_str!(concat!("../", $path)) }),*]
    };
}

/// All of them: the textbook's scenes first, then larger ones.
pub const LIBRARY: &[Shipped] = shipped![
    "textbook/sixteen_frames.ron",
    "textbook/sixteen_frames_other_order.ron",
    "textbook/sixteen_frames_high.ron",
    "textbook/sixteen_frames_buddy.ron",
    "textbook/best_fit_loses.ron",
    "textbook/coalescing.ron",
    "textbook/coalescing_off.ron",
    "textbook/internal_fragmentation.ron",
    "textbook/worst_scatter.ron",
    "textbook/demand_paging.ron",
    "textbook/heap_blocks.ron",
    "textbook/two_levels.ron",
    "adversary/robson.ron",
    "web.ron",
    "build.ron",
    "database.ron",
    "leak.ron",
    "fork_bomb.ron",
    "waiting_room.ron",
    "out_of_memory_kill.ron",
    "terabyte.ron",
    "heaps/glibc_arenas.ron",
    "heaps/producer_consumer.ron",
    "heaps/thread_churn.ron",
    "heaps/cache_hoarding.ron",
    "heaps/false_sharing.ron",
    "recorded/ls.ron",
    "recorded/pigz.ron",
    "recorded/two_programs.ron",
];

/// Workloads that only experiments run.
pub const EXPERIMENT_WORKLOADS: &[Shipped] = shipped!["experiments/waiting_jobs.ron", "experiments/jobs_at_random.ron"];

/// Experiments, which `framesim sweep` runs.
pub const EXPERIMENTS: &[Shipped] = shipped![
    "experiments/placement_1975.ron",
    "experiments/queue_without_limit.ron",
    "experiments/cluster/small_cells.ron",
    "experiments/cluster/fleet.ron",
];

/// The experiment of that name (`placement_1975`), or of that path.
#[must_use]
pub fn find_experiment(name: &str) -> Option<&'static Shipped> {
    EXPERIMENTS.iter().find(|shipped| shipped.name() == name || shipped.path == name)
}

/// The file of that name (`web`), or of that path.
#[must_use]
pub fn find(name: &str) -> Option<&'static Shipped> {
    LIBRARY.iter().chain(EXPERIMENT_WORKLOADS).find(|shipped| shipped.name() == name || shipped.path == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// `.ron` files below `folder`, as paths from the top of the repository.
    fn files(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the library's folder") {
            let path = entry.expect("an entry of it").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            if path.is_dir() {
                files(&path, &format!("{prefix}/{name}"), found);
            } else if path.extension().is_some_and(|ending| ending == "ron") {
                found.insert(format!("{prefix}/{name}"));
            }
        }
    }

    fn all() -> impl Iterator<Item = &'static Shipped> {
        LIBRARY.iter().chain(EXPERIMENT_WORKLOADS).chain(EXPERIMENTS)
    }

    #[test]
    fn every_file_of_the_library_is_listed_once() {
        let mut on_disk = BTreeSet::new();
        files(Path::new(env!("CARGO_MANIFEST_DIR")), "workloads", &mut on_disk);
        let listed: BTreeSet<String> = all().map(|shipped| shipped.path.to_owned()).collect();
        assert_eq!(listed, on_disk);
        let names: BTreeSet<&str> = all().map(Shipped::name).collect();
        assert_eq!(names.len(), all().count(), "two files of one name");
    }

    #[test]
    fn a_file_is_found_by_name_and_by_path() {
        assert_eq!(find("web").map(|web| web.path), Some("workloads/web.ron"));
        assert_eq!(find("workloads/web.ron"), find("web"));
        assert_eq!(find("no_such"), None);
    }
}
