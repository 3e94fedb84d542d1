#!/usr/bin/env bash
# Time and peak memory of calibration on a model of Qwen3-0.6B's shape (random weights): W3-MLP by GPTQ.
#   bench/calibration_speed.sh [TEXT] [TOKENS] [MEMORY]     default: the shared training text, 32768 tokens, 500MB of
#                                                          activations in memory, the rest in files
set -euo pipefail
cd "$(dirname "$0")/.."
tokens=${2:-32768} memory=${3:-500MB}
export ASSAY=${ASSAY:-build/assay}
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$work"' EXIT
text=${1:-}
if [ -z "$text" ]; then
  text=$work/train.txt
  xz -dc ../shared/text/train.txt.xz >"$text"
fi
build/make_checkpoint "$work/model" qwen3-0.6b models/demo
python3 - "$work" "$text" "$tokens" "$memory" <<'PYTHON'
import os, subprocess, sys, time
work, text, tokens, memory = sys.argv[1:]
start = time.monotonic()
process = subprocess.Popen([os.environ["ASSAY"], "quantize", work + "/model", work + "/out", "--recipe", "w3-mlp", "--embed",
                            "bf16", "--method", "gptq", "--calib", text, "--calib-tokens", tokens, "--calib-memory", memory, "--measure", "none"])
_, status, usage = os.wait4(process.pid, 0)
if status: sys.exit(1)
print(f"{tokens} tokens: {(time.monotonic() - start) / 60:.1f} minutes on {os.cpu_count()} cores, peak resident memory "
      f"{usage.ru_maxrss * 1024 / 1e9:.2f} GB (mapped weights included)")
PYTHON
