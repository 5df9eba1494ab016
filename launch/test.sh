#!/usr/bin/env bash
# Sets up and runs the tests.
#
#   launch/test.sh [--with parity] [PYTEST OPTIONS]
#
# --with parity installs PyTorch and adds the tests that compare with it; --runslow adds the slow
# ones. WORKERS (default 2) is how many processes share the files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=dev
if [ "${1:-}" = --with ]; then
  [ $# -gt 1 ] || { echo "error: --with needs a name, such as --with parity" >&2; exit 1; }
  extras=dev,$2; shift 2
fi
bash launch/setup.sh cpu --with "$extras"
exec "${SUBLIMINAL_JAX_VENV:-.venv}/bin/python" -m pytest -n "${WORKERS:-2}" --dist loadfile "$@"
