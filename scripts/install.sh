#!/usr/bin/env bash
# Makes .venv with the extras named in $1 (comma separated). Does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv, or set PYTHON=…" >&2
  exit 1
}
"$python" -c 'import ensurepip' 2>/dev/null || {
  echo "This Python has no venv module: apt-get install python3-venv" >&2
  exit 1
}

wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
stamp=.venv/.installed-${extras//,/-}
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

[ -x .venv/bin/python ] || { rm -rf .venv; "$python" -m venv .venv; }
echo "Installing the Python packages into .venv (a few minutes the first time) …"
log=.venv/install.log
if ! .venv/bin/pip install --disable-pip-version-check -q --progress-bar off \
    -c constraints.txt -e ".[$extras]" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "The installation failed; the whole log is in $log. Correct the cause and run the command again." >&2
  exit 1
fi
printf '%s' "$wanted" >"$stamp"
