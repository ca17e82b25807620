#!/usr/bin/env python3
"""Runs a sweep's shards as Ray tasks and merges them.

    ray_sweep.py FILE --out DIR [--shards N] [--address HOST:PORT]

A worker or node that dies is replaced by Ray and its shard goes on from its journal; an error of framesim itself is not tried again,
because it would be the same. DIR/shards must be a folder that all nodes see.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import ray  # noqa: E402


def shard_command(framesim, file, shards, number, folder):
    return [framesim, "sweep", file, "--shard", f"{number}/{shards}", "--out", str(folder / str(number)),
            "--jobs", "1", "--resume", "--quiet"]


@ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")
def run_shard(command, number):
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return number, done.returncode, done.stderr, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--shards", type=int, help="four for each processor unless given")
    parser.add_argument("--address", help="of a running cluster; without it, Ray on this machine")
    parser.add_argument("--framesim", default="framesim", help="the command, as all nodes know it")
    given = parser.parse_args()

    if given.address:
        ray.init(address=given.address, log_to_driver=False)
    else:
        ray.init(include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    shards = given.shards or max(1, 4 * int(ray.cluster_resources().get("CPU", 1)))
    folder = given.out.resolve() / "shards"
    file = str(pathlib.Path(given.file).resolve()) if pathlib.Path(given.file).exists() else given.file

    waiting = [run_shard.remote(shard_command(given.framesim, file, shards, number, folder), number)
               for number in range(1, shards + 1)]
    failed = 0
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        number, status, text, seconds = ray.get(ready[0])
        failed = failed or status
        print(f"shard {number}/{shards}: {'done' if status == 0 else f'exit {status}'} in {seconds:.1f} s, "
              f"{len(waiting)} to go", file=sys.stderr)
        if status != 0:
            print(text, file=sys.stderr)
    ray.shutdown()
    folders = [str(folder / str(number)) for number in range(1, shards + 1)]
    merged = subprocess.run([given.framesim, "merge", *folders, "--out", str(given.out)])
    return failed or merged.returncode


if __name__ == "__main__":
    sys.exit(main())
