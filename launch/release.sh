#!/usr/bin/env bash
# What goes with a release: the audit of known vulnerabilities, the wheel and the source, tried in a
# fresh environment, and the bill of materials of that environment (SBOM, CycloneDX).
#
#   launch/release.sh [FOLDER]             (default: dist)
#
# The folder is written once all of it holds. The status is not 0 where a locked package has a known
# vulnerability, where the audit could not be made or left one out, where the wheel lacks a file of
# the package, or where a module of it does not import.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "error: $*" >&2; exit 1; }

folder=${1:-dist}
[ $# -le 1 ] || fail "too many arguments; usage: launch/release.sh [FOLDER]"
[ -z "$(git status --porcelain)" ] || fail "the tree has changes: commit them, so that what is released is what was committed"
bash launch/setup.sh cpu --with release
python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir "$made/dist"

echo "known vulnerabilities"
locks=()
for lock in requirements*.lock; do locks+=(--requirement "$lock"); done
# Its status says less than what it writes: 1 is a finding, and no answer from the service too; an
# index without such a list leaves every package out.
"$python" -m pip_audit "${locks[@]}" --require-hashes --disable-pip --progress-spinner off \
  --format json --output "$made/dist/audit.json" > "$made/log" 2>&1 || true
"$python" -m launch.release --audit="$made/dist/audit.json" \
  || { tail -n 3 "$made/log" >&2; exit 1; }

echo "wheel and source"
"$python" -m build --no-isolation --outdir "$made/dist" . > "$made/log" 2>&1 \
  || { tail -n 20 "$made/log" >&2; fail "the wheel could not be built: see the lines above"; }
"$python" -m launch.release --wheel="$(echo "$made"/dist/*.whl)"
SUBLIMINAL_JAX_VENV="$made/venv" bash launch/setup.sh cpu
"$made/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
  "$made"/dist/*.whl
# -I: nothing of this folder is on the path, so that what is imported is the wheel.
JAX_PLATFORMS=cpu "$made/venv/bin/python" -I -c '
import importlib, pkgutil, subliminal_jax
names = [m.name for m in pkgutil.walk_packages(subliminal_jax.__path__, "subliminal_jax.")]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules import from {subliminal_jax.__path__[0]}")'

echo "bill of materials"
"$python" -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible \
  --output-format JSON --output-file "$made/dist/sbom.json" "$made/venv/bin/python"

mkdir -p "$folder"
cp "$made"/dist/* "$folder/"
echo "release, in $folder:"
find "$folder" -mindepth 1 -maxdepth 1 -printf '  %f\n' | sort
