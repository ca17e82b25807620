//! What a person sees of a sweep.

use insta::assert_snapshot;

use super::folder::{EXPERIMENT, Folder};

#[test]
fn work_is_said_to_scripts_with_what_it_depends_on() {
    let folder = Folder::new();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let work = json(&folder.shown("sweep mine.ron --json"));
    assert_eq!((&work["cells"], &work["events"]), (&12.into(), &15_120.into()));
    folder.shown("sweep mine.ron --out out");
    let manifest = std::fs::read_to_string(folder.path("out/sweep.json")).expect("a manifest");
    for name in ["program", "results_version", "about", "depends_on"] {
        assert!(!work[name].is_null());
        assert_eq!(work[name], json(&manifest)[name], "{name}");
    }
    folder.write("mine.ron", &EXPERIMENT.replace("count(3)", "count(4)"));
    assert_ne!(work["depends_on"], json(&folder.shown("sweep mine.ron --json"))["depends_on"]);
}

#[test]
fn work_is_counted_before_it_is_done() {
    let folder = Folder::new();
    assert_snapshot!(folder.shown("sweep mine.ron"), @"mine: 12 cells (2 memory x 2 policies x 3 seeds), about 15,120 events in all");
    assert_snapshot!(folder.shown("sweep mine.ron --shard 2/5"), @"
    mine: 12 cells (2 memory x 2 policies x 3 seeds), about 15,120 events in all;
    shard 2/5 has 3
    ");
    let ran = folder.run("sweep mine.ron --out out");
    assert_snapshot!(ran.stderr, @"mine: 12 cells (2 memory x 2 policies x 3 seeds), about 15,120 events in all");
    assert_snapshot!(ran.stdout, @"
    memory 256KiB:
    no difference in memory used between first_fit and best_fit is resolved
    (first_fit - best_fit: 95 % interval -10.4 to 6.3 points, 3 seeds).
    first_fit has 6.9 points more external fragmentation than best_fit (95 %
    interval 1.3 to 12.6, 3 seeds, 3 of 3 agree).
    no difference in internal fragmentation between first_fit and best_fit is
    resolved (first_fit - best_fit: 95 % interval -0.015 to 0.010 points, 3 seeds).
    no difference in refused between first_fit and best_fit is resolved (first_fit
    - best_fit: 95 % interval -19.9 to 33.2, 3 seeds).
    first_fit and best_fit have the same processes under each of 3 seeds.

    memory 1MiB:
    first_fit and best_fit have the same memory used under each of 3 seeds.
    no difference in external fragmentation between first_fit and best_fit is
    resolved (first_fit - best_fit: 95 % interval -9.2 to 3.7 points, 3 seeds).
    first_fit and best_fit have the same internal fragmentation under each of 3
    seeds.
    first_fit and best_fit have the same refused under each of 3 seeds.
    first_fit and best_fit have the same processes under each of 3 seeds.

    policy best_fit:
    256KiB has 41.7 points more memory used than 1MiB (95 % interval 33.4 to 50.0,
    3 seeds, 3 of 3 agree).
    no difference in external fragmentation between 256KiB and 1MiB is resolved
    (256KiB - 1MiB: 95 % interval -39.7 to 29.1 points, 3 seeds).
    no difference in internal fragmentation between 256KiB and 1MiB is resolved
    (256KiB - 1MiB: 95 % interval -0.005 to 0.041 points, 3 seeds).
    256KiB has 164.3 more refused than 1MiB (95 % interval 50.6 to 278.1, 3 seeds,
    3 of 3 agree).
    no difference in processes between 256KiB and 1MiB is resolved (256KiB - 1MiB:
    95 % interval -1.5 to 0.7, 3 seeds).

    policy first_fit:
    256KiB has 39.7 points more memory used than 1MiB (95 % interval 27.8 to 51.5,
    3 seeds, 3 of 3 agree).
    no difference in external fragmentation between 256KiB and 1MiB is resolved
    (256KiB - 1MiB: 95 % interval -20.9 to 29.6 points, 3 seeds).
    256KiB has 0.015 points more internal fragmentation than 1MiB (95 % interval
    0.001 to 0.029, 3 seeds, 3 of 3 agree).
    256KiB has 171.0 more refused than 1MiB (95 % interval 40.0 to 302.0, 3 seeds,
    3 of 3 agree).
    no difference in processes between 256KiB and 1MiB is resolved (256KiB - 1MiB:
    95 % interval -1.5 to 0.7, 3 seeds).

    12 cells, 9,212 events, in out/cells.csv and cells.parquet
    digest da91ba7a5622a70d   of cells.csv
    2 cells ended too early to show that they saw the same requests as the others of
    their seed
    ");
}

#[test]
fn files_say_what_they_hold() {
    let folder = Folder::with(
        &EXPERIMENT.replace("    compare", "    series: (every: \"50ms\", metrics: [\"processes\"]),\n    compare"),
    );
    folder.shown("sweep mine.ron --out out");
    let start = |file: &str| folder.read(&format!("out/{file}")).lines().take(4).collect::<Vec<_>>().join("\n");
    assert_snapshot!(start("cells.csv"), @"
    cell,memory,policy,heap,seed,metric,value,unit
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,memory_used,0.631248967,share
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,external_fragmentation,0.233520379,share
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,internal_fragmentation,0.004497683,share
    ");
    assert_snapshot!(start("runs.csv"), @"
    cell,memory,policy,heap,seed,state,time_ns,events,digest,state_digest,requests
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,done,120898517,738,0284cdc0e55a4a22d9628ad0c9328abb,b01a64eacef55edc9897ab0c2f9c8cc0,
    98ac7cfe01701402,256KiB,best_fit,free_list,5,done,120898517,738,3d5c7e4d7d4bdf97e4ef42c4f348738d,b01a64eacef55edc9897ab0c2f9c8cc0,
    2fd9c32f7802e4cf,256KiB,first_fit,free_list,6,done,92526960,566,4846c18837b10a82cf8d0564d1b375a5,b01a64eacef55edc9897ab0c2f9c8cc0,8x1:96fd7d265f4d1a4a
    ");
    assert_snapshot!(start("series.csv"), @"
    cell,memory,policy,heap,seed,time_ns,metric,value,unit
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,0,processes,1.94853318,
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,50000000,processes,5.61970152,
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,100000000,processes,2.428237084,
    ");
    assert_snapshot!(start("comparisons.csv"), @"
    memory,policy,heap,on,one,other,metric,pairs,one_mean,other_mean,difference,low,high,bootstrap_low,bootstrap_high,above,below,ties,sign_chance,effect
    256KiB,,free_list,policy,first_fit,best_fit,memory_used,3,0.686997944,0.707537221,-0.020539277,-0.103722683,0.062644130,-0.059179749,0.000000000,0,2,1,0.500000000,-0.350498418
    256KiB,,free_list,policy,first_fit,best_fit,external_fragmentation,3,0.223342532,0.153876552,0.069465980,0.013231712,0.125700248,0.049549816,0.094085540,3,0,0,0.250000000,1.753512003
    256KiB,,free_list,policy,first_fit,best_fit,internal_fragmentation,3,0.004726772,0.004753488,-0.000026716,-0.000154629,0.000101197,-0.000086075,0.000005927,1,1,1,1.000000000,-0.296480217
    ");
}

#[test]
fn a_table_has_means_with_intervals() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out");
    assert_snapshot!(folder.shown("table out --metric memory_used --metric refused"), @"
    heap free_list

    memory_used (share)
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit           0.6870                 0.5656 to 0.8084      3
      256KiB  best_fit            0.7075                 0.5208 to 0.8943      3
      1MiB    first_fit           0.2905                 0.1255 to 0.4555      3
      1MiB    best_fit            0.2905                 0.1255 to 0.4555      3

    refused
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit            171.0                    40.0 to 302.0      3
      256KiB  best_fit             164.3                    50.6 to 278.1      3
      1MiB    first_fit            0.000                   0.000 to 0.000      3
      1MiB    best_fit             0.000                   0.000 to 0.000      3
    ");
    assert_eq!(folder.shown("table out/cells.csv"), folder.shown("table out"));
    assert_snapshot!(folder.refused(2, "table out --metric memory_use"), @"error: out/cells.csv: no metric `memory_use`; did you mean `memory_used`?");
    assert_snapshot!(folder.refused(2, "table mine.ron"), @"error: mine.ron: not the `cells.csv` of a sweep");
}

#[test]
fn a_single_long_run_has_its_intervals_from_batches() {
    let folder = Folder::with(
        &EXPERIMENT
            .replace("count(3)", "count(1)")
            .replace(
                "    compare: [policies(\"first_fit\", \"best_fit\"), values(\"memory\", \"256KiB\", \"1MiB\")],\n",
                "    warm_up: until(\"20ms\"),\n",
            )
            .replace("    policies", "    set: {\"processes.p.arrive.count\": 400},\n    policies"),
    );
    folder.shown("sweep mine.ron --out out");
    assert_snapshot!(folder.shown("table out"), @"
    heap free_list

    memory_used (share)
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit           0.8621                 0.8230 to 0.9012      1
      256KiB  best_fit            0.8925                 0.8649 to 0.9201      1
      1MiB    first_fit           0.4429                 0.3897 to 0.4961      1
      1MiB    best_fit            0.4437                 0.3895 to 0.4979      1

    external_fragmentation (share)
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit           0.2420                 0.1873 to 0.2968      1
      256KiB  best_fit            0.1643                 0.1395 to 0.1890      1
      1MiB    first_fit           0.2712                 0.2058 to 0.3366      1
      1MiB    best_fit            0.2659                 0.2066 to 0.3252      1

    internal_fragmentation (share)
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit           0.0051                 0.0048 to 0.0054      1
      256KiB  best_fit            0.0051                 0.0048 to 0.0054      1
      1MiB    first_fit           0.0051                 0.0050 to 0.0053      1
      1MiB    best_fit            0.0051                 0.0050 to 0.0053      1

    refused
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit            2,989                                       1
      256KiB  best_fit             2,850                                       1
      1MiB    first_fit             22.0                                       1
      1MiB    best_fit             8.000                                       1

    processes
      memory  policy                mean                    95 % interval  seeds
      256KiB  first_fit            5.684                   5.317 to 6.051      1
      256KiB  best_fit             5.663                   5.296 to 6.030      1
      1MiB    first_fit            6.659                   5.840 to 7.478      1
      1MiB    best_fit             6.659                   5.840 to 7.478      1

    Of a single run the interval is by 20 batch means, which follow each other
    behind the warm-up.
    ");
    assert_snapshot!(folder.read("out/batches.csv").lines().take(3).collect::<Vec<_>>().join("\n"), @"
    cell,memory,policy,heap,seed,metric,batches,mean,standard_error,low,high,correlation
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,memory_used,20,0.864653286,0.018699327,0.825515145,0.903791428,0.336449731
    5de883b9d3ec29a5,256KiB,first_fit,free_list,5,external_fragmentation,20,0.243032997,0.026165724,0.188267507,0.297798487,0.134974695
    ");
    assert_eq!(folder.shown("table out --metric refused").lines().count(), 8);
    // Marks of a picture have the same intervals.
    folder.shown("plot out --metric memory_used");
    let vega: serde_json::Value = serde_json::from_str(&folder.read("out/plot.vl.json")).expect("JSON");
    let first = &vega["data"]["values"][0];
    assert!(
        first["low"].as_f64() < first["mean"].as_f64() && first["mean"].as_f64() < first["high"].as_f64(),
        "{first}"
    );
}

#[test]
fn a_plot_is_a_picture_and_a_specification() {
    let folder = Folder::new();
    folder.shown("sweep mine.ron --out out");
    assert_eq!(folder.shown("plot out"), "out/plot.svg\nout/plot.vl.json\n");
    let svg = folder.read("out/plot.svg");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    // Five metrics, two memories, two policies; the legend has a line for each policy.
    assert_eq!(svg.matches("fill=\"none\"").count(), 5 * 2 * 2);
    assert_eq!(svg.matches(">best_fit</text>").count(), 1);
    let vega: serde_json::Value = serde_json::from_str(&folder.read("out/plot.vl.json")).expect("JSON");
    assert_eq!(vega["data"]["values"].as_array().map(Vec::len), Some(5 * 2 * 2));
    folder.shown("plot out --metric memory_used --out one");
    assert_eq!(folder.read("one.svg").matches("fill=\"none\"").count(), 4);
}

#[test]
fn two_measures_that_disagree_are_flagged() {
    // Rounding to a power of two wastes inside blocks; a slab keeps room for more objects than live.
    let folder = Folder::with(
        &EXPERIMENT
            .replace("policies: [first_fit, best_fit]", "heaps: [slab, buddy_heap]")
            .replace("policies(\"first_fit\", \"best_fit\")", "all_heaps")
            .replace("\"internal_fragmentation\",", "\"internal_fragmentation\", \"heap_over_live\",")
            .replace("[\"256KiB\", \"1MiB\"]", "[\"1MiB\", \"4MiB\"]")
            .replace(", values(\"memory\", \"256KiB\", \"1MiB\")", "")
            .replace("count(3)", "count(8)"),
    );
    let said = folder.shown("sweep mine.ron --out out");
    let notes: Vec<&str> = said.split("NOTE: ").skip(1).map(|note| note.split("\n\n").next().unwrap_or(note)).collect();
    assert_snapshot!(notes.join("\n"), @"
    which of slab and buddy_heap fragments less depends on the measure:
    external_fragmentation and internal_fragmentation rank them in opposite order.

    which of slab and buddy_heap fragments less depends on the measure:
    internal_fragmentation and heap_over_live rank them in opposite order.
    which of slab and buddy_heap fragments less depends on the measure:
    external_fragmentation and internal_fragmentation rank them in opposite order.

    which of slab and buddy_heap fragments less depends on the measure:
    internal_fragmentation and heap_over_live rank them in opposite order.
    ");
}
