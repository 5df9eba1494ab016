#!/usr/bin/env bash
# From nothing to the main result: sets up, teaches digits through noise (16 models) and a favourite
# animal through numbers (a language small enough for a laptop), and joins both on one page.
#
#   launch/quickstart.sh [FOLDER]          (default: runs/quickstart)
#
# About six minutes on two cores, installation included. Started again it goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-runs/quickstart}
bash launch/setup.sh cpu
python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
"$python" -m launch.run --config=configs/mnist.py --workdir="$folder/mnist"
"$python" -m launch.run --config=configs/numbers_tiny_demo.py --workdir="$folder/numbers"
"$python" -m launch.overview --runs="$folder/mnist,$folder/numbers" --output="$folder/overview.html"
