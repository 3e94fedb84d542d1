#!/usr/bin/env bash
# SIGKILLs of a calibrated `quantize` at random moments, each resumed until it is done: always the same bytes as
# the run that nobody disturbed, and at least some of the resumed runs found finished blocks.
#   bench/resume_trials.sh [TRIALS]
set -euo pipefail
cd "$(dirname "$0")/.."
trials=${1:-20}
assay=${ASSAY:-build/assay}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quantize() {  # in a subshell, which it becomes: a signal to it must reach the program
  exec "$assay" quantize models/demo "$1" --recipe w3 --method gptq --calib self --calib-tokens 4096 --measure none
}

start=$(date +%s%N)
(quantize "$work/reference") >/dev/null 2>&1
duration_ms=$((($(date +%s%N) - start) / 1000000))
reference=$(cd "$work/reference" && sha256sum -- * | sha256sum)

kills=0 resumed=0
for ((i = 0; i < trials; i++)); do
  out="$work/out$i"
  while :; do
    quantize "$out" >/dev/null 2>&1 &
    pid=$!
    delay_ms=$((RANDOM * RANDOM % (duration_ms * 14 / 10 + 1)))
    sleep "$(printf '%d.%03d' $((delay_ms / 1000)) $((delay_ms % 1000)))"
    kill -KILL "$pid" 2>/dev/null && kills=$((kills + 1))
    if wait "$pid" 2>/dev/null; then break; fi
    [ ! -e "$out" ] || break
    [ -e "$out.calibration/progress.json" ] && resumed=$((resumed + 1))
  done
  if [ "$(cd "$out" && sha256sum -- * | sha256sum)" != "$reference" ]; then
    echo "trial $i, killed after $delay_ms ms: other bytes than the undisturbed run" >&2
    exit 1
  fi
  [ ! -e "$out.calibration" ] || { echo "trial $i left $out.calibration behind" >&2; exit 1; }
  rm -rf "$out"
done
echo "$trials runs of $duration_ms ms, $kills SIGKILLs, $resumed of them with blocks to resume: the same bytes every time"
[ "$resumed" -gt 0 ]
