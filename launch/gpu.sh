#!/usr/bin/env bash
# On a workstation with NVIDIA GPUs: sets up, checks that JAX sees them, and runs an experiment.
#
#   launch/gpu.sh --config=configs/NAME.py --workdir=DIR [--config.field=value ...]
#
# PROGRAM=train launch/gpu.sh --model=SPEC --rows=FILE --workdir=DIR trains on rows (launch.train).
# CUDA_VISIBLE_DEVICES chooses GPUs; the experiment is sharded over all that are seen. SIGTERM, such
# as a preempted machine sends: the run saves and ends with status 143, and the same command goes on.
#
# Not run on that hardware.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/on_accelerator.sh" cuda gpu "$@"
