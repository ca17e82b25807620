#!/usr/bin/env bash
#SBATCH --cpus-per-task=1
# One shard of a sweep for each task of an array that counts from 1:
#   sbatch --array=1-N slurm_array.sh FILE OUT
# When tasks are submitted again one by one, SHARDS=N says how many shards there are in all.
set -euo pipefail
file=$1 out=$2
shards=${SHARDS:-$SLURM_ARRAY_TASK_MAX}
exec "${FRAMESIM:-framesim}" sweep "$file" --shard "$SLURM_ARRAY_TASK_ID/$shards" --out "$out/$SLURM_ARRAY_TASK_ID" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --resume
