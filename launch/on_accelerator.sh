#!/usr/bin/env bash
# What launch/gpu.sh, launch/tpu_vm.sh, launch/slurm.sbatch and launch/skypilot.yaml share:
#
#   launch/on_accelerator.sh REQUIREMENTS BACKEND ARGUMENTS
#
# PROGRAM=run (default) starts launch.run, PROGRAM=train launch.train. SUBLIMINAL_JAX_READY=1 leaves
# the set-up out, where it is done and there is no network.
#
# HOSTS=FIRST,SECOND,... are the machines of one training, and HOST_NUMBER is which of them this is,
# from 0 (under Slurm the task's): launch.train is told by JAX_COORDINATOR_ADDRESS (the first, at
# COORDINATOR_PORT, by default 7000; the port after it is used too), JAX_NUM_PROCESSES, JAX_PROCESS_ID.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() { echo "error: $*" >&2; exit 1; }

requirements=$1 backend=$2
shift 2
case "${PROGRAM:=run}" in
  run|train) ;;
  *) fail "unknown PROGRAM '$PROGRAM'; known: run, train" ;;
esac
IFS=', ' read -ra hosts <<< "${HOSTS:-}"
if [ "${#hosts[@]}" -gt 1 ]; then
  [ "$PROGRAM" = train ] || fail "${#hosts[@]} hosts ($HOSTS), and launch.run is one process on one host: take one, or train on several with PROGRAM=train"
  number=${HOST_NUMBER:-${SLURM_PROCID:-}}
  [ -n "$number" ] || fail "no HOST_NUMBER says which of the ${#hosts[@]} hosts ($HOSTS) this is"
  export JAX_COORDINATOR_ADDRESS="${hosts[0]}:${COORDINATOR_PORT:-7000}"
  export JAX_NUM_PROCESSES="${#hosts[@]}" JAX_PROCESS_ID="$number"
fi
[ -n "${SUBLIMINAL_JAX_READY:-}" ] || bash launch/setup.sh "$requirements"
python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
if [ "${#hosts[@]}" -gt 1 ]; then # to count devices hosts may have to wait for one another
  export JAX_PLATFORMS="${JAX_PLATFORMS:-$requirements}" # JAX takes no other, and says so
  echo "host $JAX_PROCESS_ID of $JAX_NUM_PROCESSES; host 0 is $JAX_COORDINATOR_ADDRESS"
  exec "$python" -m "launch.$PROGRAM" "$@"
fi
export JAX_PLATFORMS="${JAX_PLATFORMS:-}"
found=$("$python" -c 'import jax; print(jax.default_backend(), jax.device_count())' 2> /dev/null || true)
case "$found" in
  "$backend "*) echo "running on ${found#* } $backend device(s)" ;;
  *) fail "JAX finds ${found:-no device} here and no $backend: check the driver (nvidia-smi) or the VM's type, or use python -m launch.$PROGRAM on the CPU" ;;
esac
exec "$python" -m "launch.$PROGRAM" "$@"
