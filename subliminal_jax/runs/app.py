"""The frame of every program: strict flags, one-line errors, SIGTERM, and JAX's compilation cache.

A program is `main(argv)`; `run_program(main)` parses the absl flags strictly, calls it with the
arguments that are no flags of absl's, and turns a `UserError` into one line and exit status 1.
"""

import ctypes
import difflib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from subliminal_jax.runs.errors import Preempted, UserError

LONGEST_SHOWN = 80  # characters of a name in an error
_STOP = {'asked': False}
_PROGRAM: dict[str, str | None] = {'prefix': None}  # of the config's flags, while a program runs


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
    name = name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + '...'
    hint = _nearest(name, known) or f' (known: {", ".join(sorted(known)[:12])})'
    return UserError(f'unknown {what} {name!r}{hint}')


def parse_flags(argv: Sequence[str], allow_prefix: str | None = None) -> list[str]:
    """Parses absl flags from argv (with the program's name first).

    `--name=value` and `--name value` are the same, and a --flagfile's lines stand where it does.

    Args:
      argv: the command line.
      allow_prefix: arguments of this name, or of a field below it (--config, --config.a.b), are
        handed back instead of being parsed.

    Returns:
      These arguments, each as NAME=VALUE.

    Raises:
      UserError: an unknown flag, an ill-typed value, a stray argument, or no such flag file.
    """
    try:
        given = flags.FLAGS.read_flags_from_files(list(argv[1:]), force_gnu=True)
        kept, rest = _apart(given, allow_prefix)
        left = flags.FLAGS([argv[0], *rest])
    except flags.UnrecognizedFlagError as error:
        raise unknown_name('flag', error.flagname, _known(allow_prefix)) from None
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(' '.join(str(error).split())) from None
    if len(left) > 1:
        raise UserError(
            f'stray argument {left[1]!r}: every option is written --name=value '
            f'(see --help for the names)'
        )
    return kept


def _apart(given: Sequence[str], prefix: str | None) -> tuple[list[str], list[str]]:
    """(arguments of the prefix, each with its value; all others)."""
    kept, rest, waiting = [], [], list(given)
    while waiting:
        argument = waiting.pop(0)
        name, equals, _ = f'--{argument.lstrip("-")}'.partition('=')
        if prefix is None or argument[:1] != '-' or not (
                name == prefix or name.startswith(f'{prefix}.')):
            rest.append(argument)
            continue
        argument = f'--{argument.lstrip("-")}'
        if not equals and waiting and not re.match(r'--?[A-Za-z]', waiting[0]):
            argument = f'{name}={waiting.pop(0)}'
        kept.append(argument)
    return kept, rest


def _known(prefix: str | None) -> list[str]:
    """The flags of this program, without those that libraries bring along."""
    by_module = flags.FLAGS.flags_by_module_dict()
    defined = [flag.name for module, found in by_module.items() for flag in found
               if module == sys.argv[0] or module.startswith('launch.')]
    return [*defined, *([prefix.lstrip('-')] if prefix else [])] or list(flags.FLAGS)


def option(name: str, field: str) -> str:
    """How this program takes a setting: --NAME, or --config.FIELD of one that reads a config."""
    if _PROGRAM['prefix'] and name not in flags.FLAGS:
        return f'{_PROGRAM["prefix"]}.{field}'
    return f'--{name}'


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


def keep_memory() -> None:
    """Lets the C library keep the memory that arrays leave behind, where it is glibc.

    By default each large array's memory goes back to the kernel and is cleared page by page when
    the next one takes it: in the training steps of a 135M model on two cores that was half of the
    CPU's time. What the user has set for malloc in the environment stays.
    """
    if any(name.startswith('MALLOC_') for name in os.environ):
        return
    mmap_max, top_pad, trim_threshold = -4, -2, -1  # malloc.h's names of mallopt's settings
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    for setting, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 1 << 28)):
        mallopt(setting, value)


def run_program(main: Callable[[list[str]], None], allow_prefix: str | None = None) -> None:
    """Runs a program to its exit status: 0, 1 for a user's mistake, 130 and 143 for signals."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    if any(a in ('--help', '--helpshort', '-h') for a in sys.argv[1:]):
        print(sys.modules['__main__'].__doc__ or '')
        print(flags.FLAGS.main_module_help())
        sys.exit(0)
    keep_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name in a message may be no UTF-8
            stream.reconfigure(errors='backslashreplace')
    _PROGRAM['prefix'] = allow_prefix
    try:
        main(parse_flags(sys.argv, allow_prefix))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a right that is missing: the machine's, not ours
        what = error.strerror or str(error) or type(error).__name__
        print(f'error: {what}{f": {error.filename}" if error.filename else ""}', file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        print('error: no memory is left: close other programs, or ask for less', file=sys.stderr)
        sys.exit(1)
    except Preempted:
        print('stopped by SIGTERM: what was done is saved; the same command goes on from there',
              file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print('interrupted: what was done is saved; the same command goes on from there',
              file=sys.stderr)
        sys.exit(130)
    finally:
        _PROGRAM['prefix'] = None
