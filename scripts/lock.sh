#!/usr/bin/env bash
# Writes constraints.txt: the exact versions of every package in .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
{
  echo "# Exact versions of everything that .venv may hold. Written by \`make lock\`."
  .venv/bin/pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+cpu.*/\1/; s/ @ .*//' | sort -f
} >constraints.txt
