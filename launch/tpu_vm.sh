#!/usr/bin/env bash
# On a TPU VM (one host): sets up, checks that JAX sees the chips, and runs an experiment.
#
#   launch/tpu_vm.sh --config=configs/NAME.py --workdir=DIR [--config.field=value ...]
#
# A preempted VM sends SIGTERM: the run saves and exits with 143. Restarted, the same command goes
# on, if DIR lies on a disk that outlives the VM.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/on_accelerator.sh" tpu tpu "$@"
