"""Pure functions over pytrees of parameters, and weights, tokenizers and adapters from files.

`load`, `Model` and `gguf_file` come from models/loading.py, which is imported when one of them is
first used: networks that are made here need none of it.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ('load', 'Model', 'gguf_file'):
        import importlib

        return getattr(importlib.import_module('subliminal_jax.models.loading'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
