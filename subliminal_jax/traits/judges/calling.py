"""Calls that may fail for a while: how long to wait before the next try, and at what pace to go."""

import email.utils
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from subliminal_jax.runs import UserError


class Passing(Exception):
    """A failure that may pass. `after`: seconds that the other side asks to wait, or None."""

    def __init__(self, why: str, after: float | None = None):
        super().__init__(why)
        self.why, self.after = why, after


class Stopped(Exception):
    """Nobody waits for this call any more."""


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or a date (RFC 9110, 10.2.3).

    Args:
      value: the header; None: there is none.
      now: seconds of the epoch; None: the clock's.

    Returns:
      At least 0; None for no header, or one that says neither.
    """
    if value is None:
        return None
    try:
        asked = float(value)
    except ValueError:
        try:
            due = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        asked = due.timestamp() - (time.time() if now is None else now)
    return max(0.0, asked) if asked == asked and asked != float('inf') else None


def backoff(attempt: int, first: float, asked: float | None, draw: float = 0.5) -> float:
    """Seconds to wait after a failed try.

    Args:
      attempt: 0 for the first try.
      first: seconds after the first try; they double.
      asked: what the other side asks for: never less.
      draw: of [0, 1): spreads callers that failed together over half to one and a half.
    """
    return max(first * 2**attempt * (0.5 + draw), asked or 0.0)


def tried(call: Callable[[], Any], tries: int, first: float, longest: float,
          sleep: Callable[[float], Any], what: str) -> Any:
    """What `call` returns, tried again while it raises Passing.

    Args:
      call: without arguments.
      tries: at most so many calls.
      first: seconds before the second; they double.
      longest: seconds; whoever asks for more is not waited for.
      sleep: waits so many seconds; it may raise to stop.
      what: who is called, for the error.

    Raises:
      UserError: the last try failed too, or the other side asks to wait too long.
    """
    goes_on = 'what is done is saved, and the same command goes on from there'
    for attempt in range(tries):
        try:
            return call()
        except Passing as error:
            failed = error
        if failed.after is not None and failed.after > longest:
            raise UserError(f'{what} asks to wait {failed.after:.0f} s ({failed.why}): try again '
                            f'later; {goes_on}')
        if attempt + 1 < tries:
            sleep(min(backoff(attempt, first, failed.after, random.random()),
                      max(longest, failed.after or 0.0)))
    times = 'once' if tries == 1 else f'{tries} times'
    raise UserError(f'{what} failed {times} ({failed.why}): see that it is running and can be '
                    f'reached; {goes_on}')


class Pace:
    """Spaces calls of all threads evenly: at most so many in a minute."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic):
        self._every, self._clock = 60.0 / per_minute, clock
        self._free, self._lock = float('-inf'), threading.Lock()

    def due(self) -> float:
        """Takes the next place; the seconds until it comes."""
        with self._lock:
            now = self._clock()
            place = max(now, self._free)
            self._free = place + self._every
            return place - now


def together(function: Callable[[Any], Any], jobs: Sequence[Any], parallel: int,
             check: Callable[[], None], stop: threading.Event) -> list[Any]:
    """function(job) of every job, in the jobs' order, several at one time.

    The threads are daemons: a program that is stopped does not wait for what is under way.

    Args:
      function: called in other threads.
      jobs: what it is called with.
      parallel: threads.
      check: called here a few times a second; it raises to stop.
      stop: is set when the first job fails, or `check` raises.

    Raises:
      Whatever the first job that fails raises, or `check`.
    """
    todo: queue.SimpleQueue = queue.SimpleQueue()
    done: queue.SimpleQueue = queue.SimpleQueue()
    for pair in enumerate(jobs):
        todo.put(pair)

    def work():
        while not stop.is_set():
            try:
                place, job = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((place, function(job), None))
            except BaseException as error:  # raised again by whoever waits
                done.put((place, None, error))

    for _ in range(min(parallel, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    results = [None] * len(jobs)
    try:
        for _ in jobs:
            place, result, error = _next(done, check)
            if error is not None:
                raise error
            results[place] = result
    except BaseException:
        stop.set()
        raise
    return results


def _next(done, check):
    while True:
        check()
        try:
            return done.get(timeout=0.2)
        except queue.Empty:
            continue
