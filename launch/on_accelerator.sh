#!/usr/bin/env bash
# What launch/gpu.sh, launch/tpu_vm.sh and launch/slurm.sbatch share:
#
#   launch/on_accelerator.sh REQUIREMENTS BACKEND ARGUMENTS
#
# SUBLIMINAL_JAX_READY=1 leaves the set-up out, where it is done and there is no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=$1 backend=$2
shift 2
[ -n "${SUBLIMINAL_JAX_READY:-}" ] || bash launch/setup.sh "$requirements"
python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
export JAX_PLATFORMS="${JAX_PLATFORMS:-}"
found=$("$python" -c 'import jax; print(jax.default_backend(), jax.device_count())' 2> /dev/null || true)
case "$found" in
  "$backend "*) echo "running on ${found#* } $backend device(s)" ;;
  *) echo "error: JAX finds ${found:-no device} here and no $backend: check the driver (nvidia-smi) or the VM's type, or use python -m launch.run on the CPU" >&2
     exit 1 ;;
esac
exec "$python" -m launch.run "$@"
