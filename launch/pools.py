"""Where the cells of a sweep run: under Ray, here or on a cluster, or as children of this program.

A pool is (cells, retries) -> outcomes as they come. Under Ray a task runs a cell's child process;
a worker that is lost costs its attempt, and Ray gives the cell to another.
"""

import contextlib
import os
import signal
import socket
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from launch.cells import ROOT, Cell, Outcome, run_cell
from subliminal_jax.runs import UserError, check_preempted

Pool = Callable[[Sequence[Cell], int], Iterator[Outcome]]
NONE, EMBEDDED = 'none', 'embedded'
PORT = 6379  # Ray's own where an address names none
STARTS = 3  # of an embedded Ray, until one succeeds
WAIT = 0.5  # seconds between looks at a signal


def children(workers: int) -> Pool:
    """Child processes of this program, so many at a time."""
    from concurrent import futures

    def pool(cells: Sequence[Cell], retries: int) -> Iterator[Outcome]:
        stop: list[Any] = []
        with futures.ThreadPoolExecutor(workers) as threads:
            waiting = {threads.submit(run_cell, cell, retries, stop) for cell in cells}
            try:
                while waiting:
                    done, waiting = futures.wait(waiting, WAIT, futures.FIRST_COMPLETED)
                    yield from (one.result() for one in done)
                    check_preempted()
            except BaseException:
                stop.append(True)
                for one in waiting:
                    one.cancel()
                raise

    return pool


def ray_tasks(address: str, workers: int, cpus: float, gpus: float) -> Pool:
    """Tasks of Ray.

    Args:
      address: 'embedded': a Ray of this program's own, on this machine; else a cluster's, whose
        nodes see the same folders.
      workers: cells at a time on this machine; a cluster takes as many as it has room for.
      cpus, gpus: that a cell takes of a cluster.

    Raises:
      UserError: Ray is not installed, or nobody listens at the address.
    """
    ray = installed()
    if address != EMBEDDED:
        check_address(address)

    def pool(cells: Sequence[Cell], retries: int) -> Iterator[Outcome]:
        with session(ray, address, workers):
            here = address == EMBEDDED
            task = ray.remote(num_cpus=1 if here else cpus, num_gpus=0 if here else gpus,
                              max_retries=retries)(run_cell)
            waiting = {task.remote(cell, retries): cell for cell in cells}
            try:
                while waiting:
                    ready, _ = ray.wait(list(waiting), timeout=WAIT)
                    for one in ready:
                        yield _outcome(ray, one, waiting.pop(one), retries)
                    check_preempted()
            except BaseException:
                for one in waiting:
                    ray.cancel(one)  # run_cell then ends its child, which saves
                ray.wait(list(waiting), num_returns=len(waiting), timeout=30)
                raise

    return pool


def _outcome(ray, reference, cell, retries):
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        line = str(error).strip().splitlines()[0]
        return Outcome(cell.name, 'failed', f'its worker was lost: {line}', retries + 1)


@contextlib.contextmanager
def session(ray: Any, address: str, workers: int) -> Iterator[None]:
    """A connection to Ray, closed at the end; an embedded one ends with it."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')  # cells see the accelerators
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    quiet = {'log_to_driver': False, 'logging_level': 'ERROR'}
    handler = signal.getsignal(signal.SIGTERM)
    if address == EMBEDDED:
        os.environ['PYTHONPATH'] = path  # workers import run_cell
        begin = lambda: ray.init('local', num_cpus=workers, include_dashboard=False, **quiet)
    else:
        begin = lambda: ray.init(address, runtime_env={'env_vars': {'PYTHONPATH': path}}, **quiet)
    _begun(ray, begin, address)
    signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
    try:
        yield
    finally:
        ray.shutdown()


def _begun(ray: Any, begin: Callable[[], Any], address: str) -> None:
    """Connects; a Ray of our own is tried again: it gives itself half a minute to start, which on
    a busy machine is too short."""
    for left in reversed(range(STARTS if address == EMBEDDED else 1)):
        try:
            begin()
            return
        except Exception as error:  # Ray raises bare ones here, too
            ray.shutdown()
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            if not left:
                raise UserError(f'--cluster={address}: Ray cannot be reached: {line}') from None


def installed() -> Any:
    """Ray. Raises UserError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise UserError(f'Ray is not installed: launch/setup.sh --with sweep, or --cluster={NONE} '
                        'for child processes without it') from None
    return ray


def check_address(address: str) -> None:
    """Raises UserError where nobody listens at a cluster's address ('auto' is Ray's own search)."""
    if address == 'auto':
        return
    text = address if '://' in address else f'ray-gcs://{address}'
    try:
        found = urllib.parse.urlsplit(text)
        host, port = found.hostname, found.port or PORT
    except ValueError:
        host = None
    if not host:
        raise UserError(f'--cluster={address} is no address: write HOST:PORT, ray://HOST:PORT, '
                        f'auto, {EMBEDDED} or {NONE}')
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise UserError(f'--cluster={address}: nobody listens at {host}:{port} '
                        f'({error.strerror or error}): start Ray there (ray start --head), or '
                        'leave --cluster out') from None
