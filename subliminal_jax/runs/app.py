"""The frame of every program: strict flags, one-line errors, SIGTERM, and JAX's compilation cache.

A program is `main(argv)`; `run_program(main)` parses the absl flags strictly, calls it with the
arguments that are no flags of absl's, and turns a `UserError` into one line and exit status 1.
"""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from subliminal_jax.runs.errors import Preempted, UserError

_STOP = {'asked': False}


def check_preempted() -> None:
    """Raises Preempted if SIGTERM has arrived; long work calls it wherever it could stop."""
    if _STOP['asked']:
        raise Preempted


def preemption_asked() -> bool:
    """True once SIGTERM has arrived: for loops that save before they stop."""
    return _STOP['asked']


def _on_sigterm(signum, frame):
    del signum, frame
    if _STOP['asked']:  # asked twice: at once
        os._exit(143)
    _STOP['asked'] = True


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f'; did you mean {close[0]}?' if close else ''


def unknown_name(what: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that is not among the known ones, with the nearest of them."""
    hint = _nearest(name, known) or f' (known: {", ".join(sorted(known)[:12])})'
    return UserError(f'unknown {what} {name!r}{hint}')


def parse_flags(argv: Sequence[str], allow_prefix: str | None = None) -> list[str]:
    """Parses absl flags from argv (with the program's name first).

    Args:
      argv: the command line.
      allow_prefix: arguments that begin with it are handed back instead of being parsed.

    Returns:
      The arguments that begin with allow_prefix.

    Raises:
      UserError: an unknown flag, an ill-typed value, or a stray argument.
    """
    kept = [a for a in argv[1:] if allow_prefix and a.startswith(allow_prefix)]
    rest = [argv[0]] + [a for a in argv[1:] if a not in kept]
    try:
        left = flags.FLAGS(rest)
    except flags.UnrecognizedFlagError as error:
        known = list(flags.FLAGS)
        raise unknown_name('flag', error.flagname, known) from None
    except flags.Error as error:
        raise UserError(' '.join(str(error).split())) from None
    if len(left) > 1:
        raise UserError(
            f'stray argument {left[1]!r}: every option is written --name=value '
            f'(see --help for the names)'
        )
    return kept


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache, however fast they compiled.

    The folder is $SUBLIMINAL_JAX_CACHE, else $XDG_CACHE_HOME/subliminal_jax, else
    ~/.cache/subliminal_jax; a folder that cannot be written leaves JAX without a cache.
    """
    import jax

    folder = cache_dir() / 'xla'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def cache_dir():
    """The user's cache folder for decoded data and compiled programs (a pathlib.Path)."""
    import pathlib

    own = os.environ.get('SUBLIMINAL_JAX_CACHE')
    if own:
        return pathlib.Path(own).expanduser()
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return pathlib.Path(base).expanduser() / 'subliminal_jax'


def run_program(main: Callable[[list[str]], None], allow_prefix: str | None = None) -> None:
    """Runs a program to its exit status: 0, 1 for a user's mistake, 130 and 143 for signals."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    if any(a in ('--help', '--helpshort', '-h') for a in sys.argv[1:]):
        print(sys.modules['__main__'].__doc__ or '')
        print(flags.FLAGS.main_module_help())
        sys.exit(0)
    try:
        main(parse_flags(sys.argv, allow_prefix))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
    except Preempted:
        print('stopped by SIGTERM: what was done is saved; the same command goes on from there',
              file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print('interrupted: what was done is saved; the same command goes on from there',
              file=sys.stderr)
        sys.exit(130)
