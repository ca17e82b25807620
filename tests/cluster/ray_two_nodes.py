#!/usr/bin/env python3
"""ray_sweep.py on two Ray nodes of this machine, with everything killed that can be, against the bytes of one machine.

    ray_two_nodes.py FRAMESIM EXPERIMENT ONE        ONE: the folder of `framesim sweep EXPERIMENT --out ONE`

1. Ctrl-C; then the same command, a worker killed, a node killed: all shards are done.
2. Another experiment, or another number of shards, is refused in the same folder.
3. A shard that framesim has a complaint about is not tried again, the complaint is shown, merge names the shard.
4. A shard that runs elsewhere already is waited for.
Ends with no process left. Needs `ray`.
"""

import fcntl
import filecmp
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

WORK = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)
HERE = pathlib.Path(WORK.name)
# All processes of this cluster, and nobody else's, know its token.
TOKEN = HERE / "token"
TOKEN.touch(mode=0o600)
TOKEN.write_bytes(os.urandom(32).hex().encode())
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(TOKEN), RAY_TMPDIR=WORK.name)
from ray.cluster_utils import Cluster  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
FRAMESIM, EXPERIMENT, ONE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
CALLS, BROKEN = HERE / "calls", HERE / "broken"
BEGAN = time.monotonic()
STARTED = []


def main():
    # A shell's background job ignores Ctrl-C, and so would everything that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    framesim_that_tells()
    node = dict(num_cpus=1, object_store_memory=80 * 2**20)
    cluster = Cluster(initialize_head=True, head_node_args=dict(
        node, include_dashboard=False,
        _system_config=dict(health_check_period_ms=500, health_check_timeout_ms=500, health_check_failure_threshold=4)))
    try:
        second = cluster.add_node(**node)
        cluster.wait_for_nodes()
        say("two nodes")
        everything_is_killed(cluster, second)
        other_shards_are_refused(cluster)
        complaints_are_shown_once(cluster)
    finally:
        for process in STARTED:
            process.kill()
            process.wait()
        cluster.shutdown()
    until(10, "the end of all processes of this test", lambda: not processes(str(HERE)))


def everything_is_killed(cluster, second):
    out = HERE / "killed"
    stopped = sweep(cluster, EXPERIMENT, out)
    until(60, "a shard that is done", lambda: list(out.glob("shards/*/cells.csv")))
    stopped.send_signal(signal.SIGINT)
    check(stopped.wait(30) == 130, f"after Ctrl-C the status is {stopped.returncode}")
    until(10, "the end of all shards", lambda: not shards_of(out))
    done = len(list(out.glob("shards/*/cells.csv")))
    say(f"Ctrl-C after {done} shards: nothing runs on")

    running = sweep(cluster, EXPERIMENT, out)
    until(60, "a shard on each node", lambda: len(shards_of(out)) == 2)
    time.sleep(0.5)
    pid, shard = shards_of(out)[0]
    os.kill(parent(pid), signal.SIGKILL)
    until(5, "the death of a shard with its worker", lambda: (pid, shard) not in shards_of(out))
    say(f"killed the worker of shard {shard}")
    until(60, "a shard on each node", lambda: len(shards_of(out)) == 2)
    cluster.remove_node(second, allow_graceful=False)
    say("killed a node")
    check(running.wait(240) == 0, f"the sweep's status is {running.returncode}:\n{running.output.read_text()}")
    check(CALLS.read_text().split().count(shard) >= 2, f"shard {shard} was not run again")
    same(out)


def other_shards_are_refused(cluster):
    out = HERE / "killed"
    for experiment, more, why in [("queue_without_limit", [], "another sweep"), (EXPERIMENT, ["--shards", "7"], "in 8 shards")]:
        refused = sweep(cluster, experiment, out, *more)
        check(refused.wait(60) == 2 and why in refused.output.read_text(), f"not refused:\n{refused.output.read_text()}")
    say("another experiment and another number of shards are refused")


def complaints_are_shown_once(cluster):
    out = HERE / "broken.out"
    BROKEN.write_text("2/3")
    CALLS.write_text("")
    failed = sweep(cluster, "queue_without_limit", out, "--shards", "3")
    text = failed.output.read_text() if failed.wait(60) else ""
    check(failed.returncode == 2, f"the status is {failed.returncode}, not merge's:\n{text}")
    check(text.count("no such luck") == 1 and "missing, of shards 2 (of 3)" in text, f"not said:\n{text}")
    check(CALLS.read_text().split().count("2/3") == 1, "a complaint was tried again")
    say("a complaint of framesim is shown and not tried again")

    BROKEN.unlink()
    with open(out / "shards" / "3" / "journal.framesim") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        waiting = sweep(cluster, "queue_without_limit", out)
        until(60, "the shard before", lambda: "shard 2 done" in waiting.output.read_text())
        time.sleep(2)
        check(waiting.poll() is None, f"a locked shard was not waited for:\n{waiting.output.read_text()}")
    check(waiting.wait(60) == 0, f"the status is {waiting.returncode}:\n{waiting.output.read_text()}")
    say("a shard that is locked is waited for")


def framesim_that_tells():
    """A framesim that writes down which shards it is asked for, and that can be told to fail at one."""
    script = HERE / "framesim"
    script.write_text(f'''#!/bin/sh
case "$*" in *--shard*) ;; *) exec {FRAMESIM} "$@" ;; esac
shard=$(echo "$*" | sed 's/.*--shard \\([0-9/]*\\) .*/\\1/')
echo "$shard" >>{CALLS}
if [ "$shard" = "$(cat {BROKEN} 2>/dev/null)" ]; then echo "error: no such luck" >&2; exit 2; fi
exec {FRAMESIM} "$@"
''')
    script.chmod(0o755)


def sweep(cluster, experiment, out, *more):
    """Starts ray_sweep.py; its `output` is a file."""
    output = HERE / "output"
    with open(output, "w") as file:
        process = subprocess.Popen(
            [sys.executable, ROOT / "workloads/experiments/cluster/ray_sweep.py", experiment, "--out", out,
             "--address", cluster.address, "--framesim", HERE / "framesim", *more],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    process.output = output
    STARTED.append(process)
    return process


def processes(word):
    """Processes whose command line has a word, but for this one: id and arguments."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if int(folder.name) != os.getpid() and any(word in argument for argument in arguments):
            found.append((int(folder.name), arguments))
    return found


def shards_of(out):
    """The framesims that run a shard of a sweep: process id and `K/N`."""
    found = [(pid, arguments) for pid, arguments in processes(f"{out}/shards/") if arguments[:2] == [FRAMESIM, "sweep"]]
    return sorted((pid, arguments[arguments.index("--shard") + 1]) for pid, arguments in found)


def parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def same(out):
    """Every file of one machine's sweep is there with the same bytes."""
    names = sorted(path.name for path in ONE.iterdir() if path.name != "journal.framesim")
    equal, differ, missing = filecmp.cmpfiles(ONE, out, names, shallow=False)
    check("cells.csv" in equal and not differ and not missing, f"not the bytes of one machine: {differ}, missing: {missing}")
    say(f"the same bytes as one machine: {', '.join(equal)}")


def until(seconds, what, is_so):
    end = time.monotonic() + seconds
    while not is_so():
        check(time.monotonic() < end, f"waited {seconds} s for {what}")
        time.sleep(0.05)


def check(holds, otherwise):
    if not holds:
        say(f"FAILED: {otherwise}")
        sys.exit(1)


def say(text):
    print(f"  ray, {time.monotonic() - BEGAN:2.0f} s: {text}", flush=True)


if __name__ == "__main__":
    main()
