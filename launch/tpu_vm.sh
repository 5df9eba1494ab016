#!/usr/bin/env bash
# On a TPU VM (one host): sets up, checks that JAX sees the chips, and runs an experiment.
#
#   launch/tpu_vm.sh --config=configs/NAME.py --workdir=DIR [--config.field=value ...]
#
# A preempted VM sends SIGTERM: the run saves and ends with status 143. Restarted, the same command
# goes on, if DIR lies on a disk that outlives the VM.
#
# From another machine, with the project in ~/subliminal_jax on the VM:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command='
#     cd subliminal_jax && launch/tpu_vm.sh --config=configs/NAME.py --workdir=DIR'
#
# --worker=all is every host of the slice, and launch.run is one process on one host: take a slice of
# one, such as v5litepod-8 (eight chips). On a slice of several hosts this script refuses to run.
#
# Not run on that hardware.
set -euo pipefail
case "${TPU_WORKER_HOSTNAMES:-}" in
  *,*) echo "error: this slice has several hosts (${TPU_WORKER_HOSTNAMES}), and a run is one process on one host: take a slice of one, such as v5litepod-8" >&2
       exit 1 ;;
esac
exec bash "$(dirname "${BASH_SOURCE[0]}")/on_accelerator.sh" tpu tpu "$@"
