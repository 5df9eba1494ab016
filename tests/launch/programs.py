"""Programs as modules, imported anew: they share flag names, and absl keeps one set of flags."""

import importlib
import sys
from types import ModuleType

from absl import flags


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
