"""Programs as modules, imported anew: they share flag names, and absl keeps one set of flags."""

import importlib
import signal
import sys
from collections.abc import Iterator
from types import ModuleType

from absl import flags
from absl.testing import flagsaver

from subliminal_jax.runs import run_program


def forget() -> None:
    """Takes every program's flags and module away."""
    for known, own in list(flags.FLAGS.flags_by_module_dict().items()):
        if known.startswith('launch.'):
            for flag in list(own):
                delattr(flags.FLAGS, flag.name)
            sys.modules.pop(known, None)


def fresh(name: str) -> ModuleType:
    """A program's module, with its flags and no other program's."""
    forget()
    return importlib.import_module(name)


def calls_of_run(monkeypatch, capsys, program: str = 'launch.run') -> Iterator:
    """Yields a function that calls a program that reads a config in this process: (exit status,
    what it said, its errors); for a fixture."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [program, *arguments])
        try:
            with flagsaver.flagsaver():
                run_program(fresh(program).main, allow_prefix='--config')
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    forget()
    signal.signal(signal.SIGTERM, handler)
