#!/bin/sh
# The chat engine's environment and model; see deploy/engine/README.md. Arguments go to install_engine.py.
exec "${PYTHON:-python3}" "$(dirname "$0")/install_engine.py" "$@"
