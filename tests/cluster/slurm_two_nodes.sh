#!/usr/bin/env bash
# A sweep as a Slurm job array on two nodes of this machine: a task is killed, what is missing is submitted again, and the bytes are
# those of one machine. Needs munged, slurmctld, slurmd and Slurm's commands, and to be root; no systemd, no cgroups.
#
#   slurm_two_nodes.sh FRAMESIM EXPERIMENT ONE       ONE: the folder of `framesim sweep EXPERIMENT --out ONE`
#
# All of it lives in a new folder under /tmp (paths of sockets are short) and ends with this script.
set -euo pipefail
cd "$(dirname "$0")/../.."
export FRAMESIM=$1
experiment=$2 one=$3 shards=8 port=${SLURM_TEST_PORT:-26917}
array=workloads/experiments/cluster/slurm_array.sh
work=$(mktemp -d /tmp/slurm.XXXXXX)
export SLURM_CONF=$work/slurm.conf

say() { printf '  slurm, %2d s: %s\n' "$SECONDS" "$*"; }
die() { say "FAILED: $*"; squeue || :; sinfo -N || :; tail -n 5 "$work"/*.log || :; exit 1; }

# until_true SECONDS WHAT COMMAND..: until the command succeeds.
until_true() {
    local tries=$(($1 * 10)) what=$2
    shift 2
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "waited too long for $what"
        sleep 0.1
    done
}

take_down() {
    local status=$? file pid
    scancel --user=root 2>/dev/null || :
    for file in "$work"/slurmd-*.pid "$work/slurmctld.pid" "$work/munged.pid"; do
        pid=$(cat "$file" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        timeout 5 tail --pid="$pid" --sleep-interval=0.1 -f /dev/null || kill -9 "$pid" || :
    done
    rm -rf "$work"
    exit "$status"
}
trap take_down EXIT

bring_up() {
    head -c 1024 /dev/urandom >"$work/munge.key"
    chmod 600 "$work/munge.key"
    chmod 711 "$work"
    # `--force`: the folder is below one that others can write to. The key is not.
    munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
        --log-file="$work/munged.log" --seed-file="$work/munge.seed" 2>/dev/null
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$work/munge.socket
MailProg=/bin/true
# Nothing that needs cgroups or a database.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# Waiting tasks start once a second, not every few.
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
# Nodes have the processors that are said here.
SlurmdParameters=config_overrides
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 RealMemory=1000
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 RealMemory=1000
PartitionName=all Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
CONF
    mkdir "$work"/{state,spool-node1,spool-node2}
    slurmctld -c
    slurmd -N node1
    slurmd -N node2
    until_true 20 "two idle nodes" two_idle
}

two_idle() { [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = 2 ]; }
over() { [ -z "$(squeue -h 2>/dev/null)" ]; }
running() { pids=$(pgrep -f "^$FRAMESIM sweep .*$work/out/[0-9]") && [ -s "$work/out/1/journal.framesim" ]; }
submit() { sbatch --parsable --output="$work/task-%a.log" "$@"; }

bring_up
say "two nodes"
submit --array="1-$shards" "$array" "$experiment" "$work/out" "$shards" >/dev/null
until_true 20 "a running task" running
kill -9 "${pids%%$'\n'*}"
until_true 120 "the array's end" over
missing=$("$FRAMESIM" merge "$work"/out/* --missing)
grep -qx '[1-8]' <<<"$missing" || die "one task was killed, missing are: $missing"
"$FRAMESIM" merge "$work"/out/* --out "$work/joined" 2>/dev/null && die "merge did not see that shard $missing is missing"
say "a task was killed, shard $missing is missing"

again=$(submit --array="$missing" "$array" "$experiment" "$work/out" "$shards")
submit --dependency="afterany:$again" --wrap="$FRAMESIM merge $work/out/* --out $work/joined" >/dev/null
until_true 60 "the rest" over
[ -z "$("$FRAMESIM" merge "$work"/out/* --missing)" ] || die "something is still missing"
diff -r -x journal.framesim "$one" "$work/joined" || die "not the bytes of one machine"
say "shard $missing was submitted again; the same bytes as one machine"
