#!/usr/bin/env bash
# From Korean text to a small GPT-2 on two CPU nodes: the cheap twin of runs/kogpt2-8xp3dn.sh, and what `make demo` runs.
#
#   runs/cpu.sh            text under /fsx/data/text (put it into the bucket under data/text), model to /fsx/data/models/cpu
#   STEPS=100 NAME=short runs/cpu.sh
#
# Every value below can be set from outside. Sizes were chosen so that training takes about a minute on 2 x 1 core and ends
# clearly below what a unigram model needs for the same tokens.
set -euo pipefail

DURE=${DURE:-dure}
NAME=${NAME:-cpu}
DATA=${DATA:-/fsx/data}
TEXT=${TEXT:-$DATA/text}
QUEUE=${QUEUE:-}
NODES=${NODES:-2}
TASKS=${TASKS:-1}
VOCABULARY=${VOCABULARY:-4000}
PRESET=${PRESET:-nano}
STEPS=${STEPS:-400}
WARMUP=${WARMUP:-$((STEPS < 200 ? STEPS / 10 : 20))}
BATCH=${BATCH:-16}
RATE=${RATE:-3e-3}
HELD_OUT=${HELD_OUT:-0.02}
LICENCE=${LICENCE:-}

submit() { $DURE submit ${QUEUE:+--queue "$QUEUE"} --wait "$@"; }

# 1. A tokenizer with its own pieces for this text
submit --name "$NAME-tokenizer" --nodes 1 --tasks-per-node 1 -- \
    python -m training.tokenizer --input "$TEXT" --output "$DATA/$NAME/tokenizer" --vocabulary "$VOCABULARY"

# 2. Text to shards of token ids; run again after new text has come, and only that is encoded
submit --name "$NAME-encode" --nodes 1 --tasks-per-node 1 -- \
    python -m training.encode --input "$TEXT" --tokenizer "$DATA/$NAME/tokenizer" --output "$DATA/$NAME/tokens" \
    --held-out "$HELD_OUT" ${LICENCE:+--licence "$LICENCE"}

# 3. Pretraining; goes on from its newest checkpoint when it is run again
submit --name "$NAME-pretrain" --nodes "$NODES" --tasks-per-node "$TASKS" -- \
    python -m training.launch -- \
    python -m training.pretrain --data "$DATA/$NAME/tokens" --tokenizer "$DATA/$NAME/tokenizer" \
    --output "$DATA/models/$NAME" --checkpoints "$DATA/$NAME/checkpoints" \
    --preset "$PRESET" --global-batch "$BATCH" --steps "$STEPS" --warmup "$WARMUP" --learning-rate "$RATE"

echo "the model is at $DATA/models/$NAME and, through the export, in the bucket under data/models/$NAME:"
echo "  python -m training.generate --model FOLDER --prompt '파일을 저장하려면'"
