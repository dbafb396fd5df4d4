#!/usr/bin/env bash
# Restores images with several processes of this machine, one GPU each where there are any.
#
#     PROCESSES=4 launch/several_processes.sh photos/ --output_dir=restored --skip_existing
#
# Takes the images and flags of `python -m diip_jax.launch`. What process i says is in $LOGS/process_i.log.
# Exit code: the largest of the processes'.
set -euo pipefail

PROCESSES=${PROCESSES:-2}
PYTHON=${PYTHON:-.venv/bin/python}
LOGS=${LOGS:-logs}
PORT=${PORT:-$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}

mkdir -p "$LOGS"
processes=()
trap 'kill "${processes[@]}"' INT TERM
for ((i = 0; i < PROCESSES; i++)); do
    # JAX shows a process only these GPUs; without GPUs it has no effect.
    JAX_LOCAL_DEVICE_IDS=$i "$PYTHON" -m diip_jax.launch "$@" \
        --coordinator="localhost:$PORT" --num_processes="$PROCESSES" --process_id="$i" \
        > "$LOGS/process_$i.log" 2>&1 &
    processes+=($!)
done

worst=0
for i in "${!processes[@]}"; do
    code=0
    wait "${processes[$i]}" || code=$?
    ((code <= worst)) || worst=$code
    echo "process $i ended with code $code: $(tail -n 1 "$LOGS/process_$i.log")"
done
exit "$worst"
