#!/usr/bin/env bash
# On a TPU VM: sets up, checks that JAX sees the chips, and runs an experiment.
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
# --worker=all is every host of the slice. launch.run is one process on one host: take a slice of one,
# such as v5litepod-8 (eight chips). launch.train takes a slice of several, with DIR on a disk that all
# of them see; put PROGRAM=train before launch/tpu_vm.sh:
#
#   PROGRAM=train launch/tpu_vm.sh --model=SPEC --rows=FILE --workdir=DIR --host_timeout=600
#
# (hosts wait for one another for so many seconds; the first time each has to set up before).
#
# The slice's hosts, and which this is, are in the environment (GKE) or in the VM's metadata.
#
# Not run on that hardware: tested with a metadata server that is none.
set -euo pipefail
shopt -s extglob

attribute() { # of the VM; nothing where there is no such server
  curl --silent --fail --max-time 5 --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1" || true
}

if [ -z "${HOSTS:-}" ]; then
  HOSTS=${TPU_WORKER_HOSTNAMES:-} HOST_NUMBER=${TPU_WORKER_ID:-}
  if [ -z "$HOSTS" ]; then
    HOSTS=$(attribute worker-network-endpoints) HOST_NUMBER=$(attribute agent-worker-number)
    HOSTS=${HOSTS//+([^,:]):/} # addresses, or NAME:NUMBER:ADDRESS each
  fi
fi
export HOSTS HOST_NUMBER
exec bash "$(dirname "${BASH_SOURCE[0]}")/on_accelerator.sh" tpu tpu "$@"
