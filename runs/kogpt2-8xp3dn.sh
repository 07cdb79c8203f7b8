#!/usr/bin/env bash
# The talk's run: GPT-2 base with a 50,000-piece Korean vocabulary on 20 GB of text, 8 p3dn.24xlarge (64 V100), Horovod and MXNet.
#
#   runs/kogpt2-8xp3dn.sh             needs a cluster of clusters/kogpt2-p3dn.yaml and text under data/text of its bucket
#   EXTRA=--dry-run runs/kogpt2-8xp3dn.sh     shows the three jobs without sending them
#
# 124,242,432 parameters, 0.874 TFLOP a record of 1,024 tokens. A global batch of 512 records is half a million tokens.
# Not run by us at this size: see docs/untested.md.
set -euo pipefail

DURE=${DURE:-dure}
NAME=${NAME:-kogpt2}
DATA=${DATA:-/fsx/data}
TEXT=${TEXT:-$DATA/text}
QUEUE=${QUEUE:-gpu}
NODES=${NODES:-8}
STEPS=${STEPS:-70000}
PRECISION=${PRECISION:-fp16}
EXTRA=${EXTRA:-}

# shellcheck disable=SC2086  # EXTRA is a list of options
submit() { $DURE submit --queue "$QUEUE" $EXTRA "$@"; }
wait_for=--wait
[[ $EXTRA == *--dry-run* ]] && wait_for=

submit --name "$NAME-tokenizer" --nodes 1 --tasks-per-node 1 $wait_for -- \
    python -m training.tokenizer --input "$TEXT" --output "$DATA/$NAME/tokenizer" --vocabulary 50000 --sample-mb 2000

submit --name "$NAME-encode" --nodes 1 --tasks-per-node 1 $wait_for -- \
    python -m training.encode --input "$TEXT" --tokenizer "$DATA/$NAME/tokenizer" --output "$DATA/$NAME/tokens" --held-out 0.001

# 64 ranks x 8 records; warm-up and peak rate of GPT-2 base at half a million tokens a step. 125 TFLOPS is a V100's peak in fp16
submit --name "$NAME-pretrain" --nodes "$NODES" --tasks-per-node 8 -- \
    python -m training.launch -- \
    python -m training.pretrain --data "$DATA/$NAME/tokens" --tokenizer "$DATA/$NAME/tokenizer" \
    --output "$DATA/models/$NAME" --checkpoints "$DATA/$NAME/checkpoints" \
    --preset kogpt2 --precision "$PRECISION" --global-batch 512 --micro-batch 8 --steps "$STEPS" --warmup 2000 --learning-rate 6e-4 \
    --evaluate-every 1000 --evaluate-tokens 1000000 --checkpoint-every 500 --keep 3 --log-every 20 --peak-tflops 125 --reduce-groups 8
