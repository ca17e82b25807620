#!/usr/bin/env bash
#SBATCH --cpus-per-task=1
#SBATCH --requeue
# One task of a job array is one shard of a sweep in N shards; OUT is where all nodes see it:
#   sbatch --array=1-N slurm_array.sh FILE OUT N
# `--resume`: a task that is run again goes on where it was.
set -euo pipefail
file=$1 out=$2 shards=$3
exec "${FRAMESIM:-framesim}" sweep "$file" --shard "$SLURM_ARRAY_TASK_ID/$shards" --out "$out/$SLURM_ARRAY_TASK_ID" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --resume --quiet
