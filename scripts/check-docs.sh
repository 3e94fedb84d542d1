#!/usr/bin/env bash
# Every test that a page names (`Suite.Test`) is there, and so is every script and source file that one names, and every
# section of docs/formats.md that a comment cites.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
pages=(README.md ARCHITECTURE.md CONTRIBUTING.md docs/*.md)
for name in $(grep -ohE '`[A-Z][A-Za-z0-9]+\.[A-Z][A-Za-z0-9]+`' "${pages[@]}" | tr -d '`' | sort -u); do
  grep -rqE "^TEST(_F|_P)?\(${name%.*}, ${name#*.}\)" tests || { echo "no such test: $name" >&2; status=1; }
done
for path in $(grep -ohE '\b(bench|scripts|docs|tests|proofs)/[A-Za-z0-9_/.-]+\.(sh|py|md|json|h|cpp)\b' "${pages[@]}" | sort -u); do
  [ -e "$path" ] || { echo "no such file: $path" >&2; status=1; }
done
for path in $(grep -ohE '`[a-z]+/[a-z0-9_/.]+\.(h|cpp)`' "${pages[@]}" | tr -d '`' | sort -u); do
  [ -e "$path" ] || [ -e "assay/$path" ] || { echo "no such source: $path" >&2; status=1; }
done
if git grep -nE '^(<<<<<<<|>>>>>>>) ' >&2; then echo "a merge was left unfinished" >&2; status=1; fi
# Comments joined into one line, for a citation may go over two.
cited=$(find assay app tests fuzz \( -name '*.h' -o -name '*.cpp' \) -print0 | xargs -0 sed -E 's@^ *///? ?@@' | tr '\n' ' ' |
  grep -oE 'docs/formats\.md, "[^"]+"( and "[^"]+")?' | grep -oE '"[^"]+"' | tr -d '"' | sort -u)
while IFS= read -r section; do
  grep -qxE "#+ $section" docs/formats.md || { echo "docs/formats.md has no section \"$section\"" >&2; status=1; }
done <<< "$cited"
exit $status
