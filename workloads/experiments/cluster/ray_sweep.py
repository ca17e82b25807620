#!/usr/bin/env python3
"""Runs the shards of an experiment as Ray tasks and joins them.

    ray_sweep.py FILE --out DIR [--shards N] [--address HOST:PORT]

FILE and DIR are where all nodes see them; shards are written to DIR/shards. A shard whose worker or node dies is run again and
goes on from its journal. An error of framesim itself is not tried again, because it would be the same. After Ctrl-C, the same
command goes on. The exit status is that of `framesim merge`, which names what is missing.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import ray  # noqa: E402

SHARDS_PER_CPU = 4
NOTE = "sweep.json"  # in DIR/shards: how many there are, and of what
LOCKED = (5, "another sweep is writing to it")  # status and words of a framesim whose journal another one writes


@ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")
def run_shard(command):
    """Runs a shard here: status, complaint, seconds, node. Its results stay in its folder."""
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", "--", *command]  # dies with this worker
    started = time.monotonic()
    while True:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != LOCKED[0] or LOCKED[1] not in done.stderr:
            return done.returncode, done.stderr, time.monotonic() - started, ray.get_runtime_context().get_node_id()[:6]
        time.sleep(1)  # an earlier run of this shard is still alive, here or on another node


def main():
    given = arguments()
    asked = subprocess.run([given.framesim, "sweep", given.file, "--json"], stdout=subprocess.PIPE)
    if asked.returncode != 0:
        return asked.returncode
    work = json.loads(asked.stdout)
    shards = earlier(given.out, work, given.shards)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        start_ray(given.address, scratch)
        try:
            shards = shards or begin(given.out, work, given.shards)
            run_all(given, work, shards)
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr)
            return 130
        finally:
            ray.shutdown()
    folders = [str(given.out / "shards" / str(number)) for number in range(1, shards + 1)]
    return subprocess.run([given.framesim, "merge", *folders, "--out", str(given.out)]).returncode


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the experiment, or the name of one that comes with framesim")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--shards", type=int, metavar="N", help=f"{SHARDS_PER_CPU} for each processor unless given")
    parser.add_argument("--address", metavar="HOST:PORT", help="of a running cluster; without it, Ray on this machine")
    parser.add_argument("--framesim", default="framesim", help="the program, as all nodes know it")
    given = parser.parse_args()
    if os.path.exists(given.file):
        given.file = os.path.abspath(given.file)
    given.out = given.out.resolve()
    return given


def start_ray(address, scratch):
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20, _temp_dir=scratch)


def earlier(out, work, shards):
    """How many shards of this sweep DIR has from before, none if it is new; refuses a folder of something else."""
    if (out / "journal.framesim").exists():
        refuse(f"{out} has a sweep of its own")
    if not (out / "shards" / NOTE).exists():
        return None
    before = json.loads((out / "shards" / NOTE).read_text())
    differs = [key for key in ("program", "results_version", "depends_on") if before["work"][key] != work[key]]
    if differs:
        refuse(f"{out} has shards of another sweep: {', '.join(differs)} differ")
    if shards not in (None, before["shards"]):
        refuse(f"{out} has this sweep in {before['shards']} shards, not {shards}")
    return before["shards"]


def refuse(why):
    print(f"error: {why}; take another folder", file=sys.stderr)
    sys.exit(2)


def begin(out, work, shards):
    """Decides how many shards there are and notes it, with what they are shards of."""
    shards = shards or SHARDS_PER_CPU * int(ray.cluster_resources().get("CPU", 1))
    shards = max(1, min(shards, work["cells"]))
    (out / "shards").mkdir(parents=True, exist_ok=True)
    beside = out / "shards" / f"{NOTE}.{os.getpid()}"
    beside.write_text(json.dumps({"shards": shards, "work": work}, indent=2))
    beside.replace(out / "shards" / NOTE)
    return shards


def run_all(given, work, shards):
    """Runs all shards, and says of each how it ended; a complaint that many have is shown once."""
    def command(number):
        return [given.framesim, "sweep", given.file, "--shard", f"{number}/{shards}", "--resume", "--quiet", "--jobs", "1",
                "--out", str(given.out / "shards" / str(number))]

    running = {run_shard.remote(command(number)): number for number in range(1, shards + 1)}
    print(f"{work['cells']} cells in {shards} shards", file=sys.stderr)
    shown = set()
    while running:
        # What ended within a second: asking for each by itself takes long when there are thousands.
        for task in ray.wait(list(running), num_returns=len(running), timeout=1)[0]:
            number = running.pop(task)
            try:
                status, complaint, seconds, node = ray.get(task)
                ended = f"{'done' if status == 0 else f'exit {status}'} after {seconds:.1f} s on node {node}"
            except ray.exceptions.RayError as error:
                ended, complaint = "lost", str(error).splitlines()[0]
            print(f"shard {number} {ended}, {len(running)} to go", file=sys.stderr)
            if complaint and complaint not in shown:
                shown.add(complaint)
                print(complaint, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
