#!/usr/bin/env bash
# Builds docs/ to HTML; a warning is an error, and nothing is fetched.
#
#   launch/docs.sh [FOLDER]                (default: docs/_build/html)
#
# After launch/setup.sh cpu --with docs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
"$python" -c 'import furo, myst_parser, sphinx' 2> /dev/null \
  || { echo "error: the documentation's packages are missing: run launch/setup.sh cpu --with docs" >&2; exit 1; }
JAX_PLATFORMS=cpu "$python" -m sphinx --fail-on-warning --keep-going --quiet -b html docs \
  "${1:-docs/_build/html}"
echo "docs: ${1:-docs/_build/html}/index.html"
