"""Several hosts as one run: who is there, whether they run the same, and a line when one is lost.

JAX's own service (jax.distributed) ends a process with a page of C++ where another is missing. So
hosts meet before it over connections of their own, on the port after the coordinator's, and keep
them: process 0 listens, the others say who they are and what they run. One that falls silent, or
ends without saying so, ends all of them with one line that names it. The network is trusted, as
JAX's service trusts it: nothing is encrypted, and messages are short lines of JSON.

What they then decide together goes through the devices: runs/together.py.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from subliminal_jax.runs.errors import Preempted, UserError

ENVIRONMENT = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
LONGEST = 1 << 16  # bytes of a message


class Agreed(UserError):
    """An error that all hosts raise at the same place: none has to be told of it."""


class Place(NamedTuple):
    """A process among several.

    Attributes:
      address: HOST:PORT of process 0, for JAX; the port after it is ours.
      count: how many processes.
      number: of this one, from 0.
      timeout: seconds in which another has to answer.
    """

    address: str
    count: int
    number: int
    timeout: float


def asked(address: str | None, count: int | None, number: int | None, timeout: float,
          environment: Mapping[str, str]) -> Place | None:
    """This process's place, by flags or else by the environment; None: there is one process.

    Raises:
      UserError: something is missing, or cannot be.
    """
    said = [environment.get(name) or None if value is None else str(value)
            for name, value in zip(ENVIRONMENT, (address, count, number))]
    if said == [None] * 3 or said[1] == '1':
        return None
    host, _, port = (said[0] or '').rpartition(':')
    if not host or not port.isdecimal() or int(port) > 65_534 or not (
            said[1] or '').isdecimal() or not (said[2] or '').isdecimal():
        raise UserError('several hosts: pass --coordinator=HOST:PORT --processes=COUNT '
                        f'--process=NUMBER, or set {", ".join(ENVIRONMENT)}')
    if int(said[2]) >= int(said[1]):
        raise UserError(f'--process={said[2]}: {said[1]} processes are numbered from 0')
    return Place(f'{host}:{port}', int(said[1]), int(said[2]), timeout)


class _Link:
    """A connection that sends and receives JSON objects."""

    def __init__(self, connection: socket.socket):
        self._socket, self._left = connection, b''

    def send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # that the other is gone is noticed on receiving
            self._socket.sendall(json.dumps(message).encode() + b'\n')

    def receive(self, seconds: float) -> dict[str, Any]:
        """Raises TimeoutError, ConnectionError or ValueError."""
        self._socket.settimeout(max(seconds, 0.01))
        while b'\n' not in self._left:
            got = self._socket.recv(4096)
            if not got or len(self._left) > LONGEST:
                raise ConnectionError
            self._left += got
        line, _, self._left = self._left.partition(b'\n')
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError
        return message

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def joined(place: Place | None, facts: Mapping[str, str]) -> Iterator[None]:
    """JAX's devices are those of all hosts inside, once all are there and have the same facts.

    Args:
      place: of this process; None: it is alone, and nothing happens.
      facts: SHA-256 sums that have to be the same everywhere, by what they are of.

    Raises:
      UserError: a host does not answer, or has other facts.
    """
    if place is None:
        yield
        return
    facts = {'number of processes': str(place.count), **facts}
    links = _gathered(place, facts) if place.number == 0 else {0: _reported(place, facts)}
    watch = _Watch(place, links)
    import jax

    patience = int(place.timeout) + 1  # ours notices first
    jax.config.update('jax_enable_preemption_service', False)  # it takes SIGTERM from our handler
    jax.distributed.initialize(
        place.address, place.count, place.number, cluster_detection_method='deactivate',
        initialization_timeout=patience, shutdown_timeout_seconds=patience,
        heartbeat_timeout_seconds=10 * patience)
    try:
        yield
    except (Preempted, Agreed):  # of all of them
        watch.leave()
        jax.distributed.shutdown()
        raise
    except BaseException as error:  # alone: JAX would wait for the others
        if not isinstance(error, UserError):
            traceback.print_exc()
        watch.end(f'host {place.number} ended: {error or type(error).__name__}')
    watch.leave()
    jax.distributed.shutdown()


def _gathered(place, facts):
    """Process 0's connections to all others, by their numbers."""
    deadline, links = time.monotonic() + place.timeout, {}
    port = int(place.address.rpartition(':')[2]) + 1
    try:
        server = socket.create_server(('', port))
    except OSError as error:
        raise UserError(f'port {port} of this host cannot be had ({error.strerror}): take another '
                        '--coordinator') from None
    trouble = None
    with server:
        while len(links) < place.count - 1 and trouble is None:
            try:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                link = _Link(server.accept()[0])
                said = link.receive(min(5, place.timeout))
                number = int(said['process'])
                theirs = dict(said['facts'])
            except TimeoutError:
                if time.monotonic() >= deadline:
                    break
                continue
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no process of ours
            if number in links or not 0 < number < place.count:
                trouble = f'two processes call themselves {number}, or there is no such number'
            links[number] = link
            trouble = trouble or differs(number, theirs, facts)
    missing = [str(n) for n in range(1, place.count) if n not in links]
    if missing and trouble is None:
        trouble = (f'host {", ".join(missing)} of {place.count} did not answer within '
                   f'{place.timeout:g} s: start it with the same command and its own --process')
    for link in links.values():
        link.send(**({'error': trouble} if trouble else {'ok': True}))
    if trouble:
        raise UserError(trouble)
    return links


def differs(number: int, theirs: Mapping[str, str], facts: Mapping[str, str]) -> str | None:
    """One line on a host whose facts are not those of host 0; None: they are."""
    for name in facts:
        if theirs.get(name) != facts[name]:
            return (f'host {number} has another {name} than host 0 ({str(theirs.get(name))[:12]} '
                    f'there, {facts[name][:12]} on host 0): start all hosts with the same')
    return None


def _reported(place, facts):
    """Another process's connection to process 0."""
    host, _, port = place.address.rpartition(':')
    deadline = time.monotonic() + place.timeout
    lost = UserError(f'host 0 ({place.address}) did not answer within {place.timeout:g} s: start '
                     'it, or see what it says')
    while True:
        try:
            link = _Link(socket.create_connection((host.strip('[]'), int(port) + 1), 5))
            break
        except OSError:
            if time.monotonic() >= deadline:
                raise lost from None
            time.sleep(0.2)
    link.send(process=place.number, facts=facts)
    try:
        said = link.receive(place.timeout + 5)
    except (OSError, ValueError):
        raise lost from None
    if 'error' in said:
        raise UserError(str(said['error']))
    return link


class _Watch:
    """Threads that say that this process is alive, and notice where another is not."""

    def __init__(self, place, links):
        self._place, self._links = place, links
        self._ending, self._left = threading.Lock(), threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()
        for number, link in links.items():
            threading.Thread(target=self._listen, args=(number, link), daemon=True).start()

    def _beat(self):
        while not self._left.wait(self._place.timeout / 5):
            for link in self._links.values():
                link.send(alive=True)

    def _listen(self, number, link):
        try:
            while not (said := link.receive(self._place.timeout)).get('left'):
                if 'ended' in said:
                    self.end(str(said['ended']))
            return
        except TimeoutError:
            what = f'has not answered for {self._place.timeout:g} s'
        except (OSError, ValueError):
            what = 'is gone'
        self.end(f'host {number} {what}: see what it says; the same command on all hosts goes on '
                 'from the last checkpoint')

    def leave(self):
        """The end of this process is meant."""
        self._left.set()
        for link in self._links.values():
            link.send(left=True)

    def end(self, line):
        """Ends this process, whose main thread may wait forever, and tells the others why."""
        if self._left.is_set():
            return
        self._ending.acquire()  # the first line counts
        for link in self._links.values():
            link.send(ended=line)
        print(f'error: {line}', file=sys.stderr, flush=True)
        os._exit(1)


def several() -> bool:
    """Whether the devices are those of several processes."""
    import jax

    return jax.process_count() > 1


def first() -> bool:
    """Whether this process writes the run's files."""
    import jax

    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until all hosts are there."""
    if several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def whole(leaf: Any, keep: bool = True) -> Any:
    """An array in this host's memory, though parts of it lie with others; all hosts have to ask.

    Args:
      leaf: the array.
      keep: otherwise a number comes back in its place.
    """
    import numpy as np

    if not getattr(leaf, 'is_fully_addressable', True):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf) if keep else 0
