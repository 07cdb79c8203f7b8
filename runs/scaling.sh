#!/usr/bin/env bash
# The talk's scaling table on your own cluster: the same training on 1, 2, 4 ... nodes, one job a node count, one after the other.
#
#   runs/scaling.sh                                  tokens of runs/cpu.sh, 1 2 4 nodes, weak and strong scaling
#   NODES="1 2 4 8" TASKS=8 PRESET=kogpt2 EXTRA_TRAIN="--precision fp16 --micro-batch 8" TOKENS=... TOKENIZER=... runs/scaling.sh
#   EXTRA=--dry-run runs/scaling.sh                  shows the jobs without sending them
#
# Weak: PER_RANK records a rank and step, so a step's work grows with the nodes. Strong: GLOBAL records a step, always.
# Speed is over all steps but the first; no checkpoint falls into them. Run it in this folder, which each job gets. Logs stay in OUT.
set -euo pipefail

DURE=${DURE:-dure}
PYTHON=${PYTHON:-python3}
DATA=${DATA:-/fsx/data}
NAME=${NAME:-cpu}
TOKENS=${TOKENS:-$DATA/$NAME/tokens}
TOKENIZER=${TOKENIZER:-$DATA/$NAME/tokenizer}
QUEUE=${QUEUE:-}
NODES=${NODES:-1 2 4}
TASKS=${TASKS:-1}
MODES=${MODES:-weak strong}
PRESET=${PRESET:-nano}
STEPS=${STEPS:-60}
PER_RANK=${PER_RANK:-8}
GLOBAL=${GLOBAL:-64}
EXTRA=${EXTRA:-}
EXTRA_LAUNCH=${EXTRA_LAUNCH:-}
EXTRA_TRAIN=${EXTRA_TRAIN:-}
RUN=${RUN:-scaling-$(date +%Y%m%d-%H%M%S)}
OUT=${OUT:-out/$RUN}

here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$OUT"
OUT=$(realpath "$OUT")

train() {  # MODE NODES BATCH
    # shellcheck disable=SC2086  # the EXTRA values are lists of options
    $DURE submit ${QUEUE:+--queue "$QUEUE"} --name "scaling-$1-$2" --nodes "$2" --tasks-per-node "$TASKS" ${EXTRA:---wait} -- \
        python -m training.launch $EXTRA_LAUNCH -- \
        python -m training.pretrain --data "$TOKENS" --tokenizer "$TOKENIZER" --output "$DATA/$RUN/$1-$2" \
        --preset "$PRESET" --global-batch "$3" --steps "$STEPS" --warmup 5 --checkpoint-every 0 --evaluate-tokens 1000 $EXTRA_TRAIN
}

for mode in $MODES; do
    for nodes in $NODES; do
        batch=$GLOBAL
        [[ $mode == weak ]] && batch=$((PER_RANK * TASKS * nodes))
        echo "$mode scaling: $nodes node(s) x $TASKS rank(s), $batch records a step" >&2
        if [[ -n $EXTRA ]]; then
            train "$mode" "$nodes" "$batch"
        else
            train "$mode" "$nodes" "$batch" | tee "$OUT/$mode-$nodes.log" >&2
        fi
    done
done

[[ -n $EXTRA ]] && exit 0
for mode in $MODES; do
    echo "$mode scaling, $PRESET, $TASKS rank(s) a node"
    logs=()
    for nodes in $NODES; do logs+=("$OUT/$mode-$nodes.log"); done
    (cd "$here" && "$PYTHON" -m training.scaling "${logs[@]}")
done
