#!/usr/bin/env bash
# Makes the locks anew: of each set every package that it installs, with the hash of each of its files.
#
#   launch/lock.sh [SET ...]               (default: all of them; SET.txt becomes SET.lock)
#
# After launch/setup.sh cpu --with release. To move a version, change it in requirements*.txt and in
# constraints.txt, run this, and read what has changed. Nothing of a package is run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv="${SUBLIMINAL_JAX_VENV:-.venv}/bin/uv"
[ -x "$uv" ] || { echo "error: uv is missing: run launch/setup.sh cpu --with release" >&2; exit 1; }
export UV_CUSTOM_COMPILE_COMMAND=launch/lock.sh

[ $# -gt 0 ] || set -- requirements requirements-assets requirements-build requirements-gemma \
  requirements-release
for name; do
  [ -e "$name.txt" ] || { echo "error: there is no $name.txt" >&2; exit 1; }
  alone=()  # sets that bring nothing along
  case "$name" in requirements-assets|requirements-build|requirements-gemma) alone=(--no-deps) ;; esac
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links ${alone[@]+"${alone[@]}"} "$name.txt" --output-file "$name.lock"
  echo "$name.lock"
done
