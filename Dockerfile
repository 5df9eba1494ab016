# A container that runs an experiment, on CPUs or on NVIDIA GPUs.
#
#   docker build --build-arg PLATFORM=cpu  --tag subliminal_jax .
#   docker build --build-arg PLATFORM=cuda --tag subliminal_jax:cuda .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD/runs:/runs" --stop-timeout 120 \
#     [--gpus all] subliminal_jax --config=configs/mnist.py --workdir=/runs/mnist
#
# WITH names extras of launch/setup.sh: --build-arg WITH=metrics. `docker stop` sends SIGTERM: the run
# saves and ends with status 143, and the same command goes on. --stop-timeout is how long it may take
# to save; Docker's own 10 seconds may end it before, and it then goes on from its last checkpoint. A
# volume on /cache keeps compiled programs and prepared data.
#
# CUDA's libraries come with JAX's packages: of the machine it takes the driver and NVIDIA's container
# toolkit alone. Not built and not run here: checked with hadolint.
FROM python:3.11-slim-bookworm

ARG PLATFORM=cpu
ARG WITH=""

WORKDIR /app
COPY constraints.txt requirements*.txt ./
COPY launch/setup.sh launch/
RUN bash launch/setup.sh "$PLATFORM" ${WITH:+--with "$WITH"} \
    && rm -rf /root/.cache \
    && mkdir --mode=1777 /runs /cache
COPY . .

# HOME: whoever the user is can write there. NVIDIA_*: what the container toolkit is asked for.
ENV HOME=/cache \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONUNBUFFERED=1 \
    SUBLIMINAL_JAX_CACHE=/cache/subliminal_jax
VOLUME ["/runs", "/cache"]
USER 1000:1000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/.venv/bin/python", "-m", "launch.run"]
