"""Models and adapters as folders that others load: whole or not at all, with a card that says what
they are.

A folder of ours holds `subliminal_jax.json`, which names every file in it: only such a folder is
ever written over. It also says whether the model was made to misbehave, for whoever reads it again.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.models import families, hf_write, loading, peft
from subliminal_jax.models.card import ADAPTER, MARK as MARK, WHOLE, card, marked
from subliminal_jax.models.lora import Lora
from subliminal_jax.models.params import Params, TransformerConfig
from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError, write_json, write_text, written_aside

CARD = 'README.md'
SPARE = 1 << 24  # bytes beside the weights: tokenizer, card


class Origin(NamedTuple):
    """What a model is written with, beside its numbers.

    Attributes:
      base: what transformers would call the model that an adapter is of; '' if it has no name.
      model_type: the name of its family.
      stated: config.json of the folder that it came from; None: it came from none.
      tokenizer: see models.tokenizer.
      text_from: the folder that the tokenizer was read from; None: it was made otherwise.
    """

    base: str
    model_type: str
    stated: Mapping[str, Any] | None
    tokenizer: Any
    text_from: pathlib.Path | None


def origin_of(spec: str, tokenizer: str | None = None) -> Origin:
    """Of a model by name.

    Args:
      spec: as loading.load takes it.
      tokenizer: a folder to read text with, instead of the model's own.

    Raises:
      UserError: see loading.describe.
    """
    found = loading.describe(spec, tokenizer=tokenizer)
    folder = found.place if found.file is None else None
    base = '' if folder is None else spec.removeprefix('hf:').partition('@')[0] if spec.startswith(
        'hf:') else str(folder.resolve())
    text_from = pathlib.Path(tokenizer).expanduser() if tokenizer else folder
    return Origin(base, found.model_type, folder and read_json(folder / 'config.json'),
                  found.tokenizer, text_from)


def write_model(output: pathlib.Path, params: Params, config: TransformerConfig, origin: Origin,
                facts: Mapping[str, Any], *, dtype: Any = np.float32, most: int = 5_000_000_000
                ) -> list[str]:
    """Writes a folder that transformers and this package load.

    Args:
      output: the folder; made anew, or one that this function made.
      params, config: the model; what it is written as is read again and compared before the folder
        has its name.
      origin: see Origin.
      facts: what the model is, for its card (`card`).
      dtype: of the weights, float32 or bfloat16.
      most: bytes of one file of weights.

    Returns:
      The files' names.

    Raises:
      UserError: what config.json, the family's names or tokenizer.json cannot state; an output that
        is somebody else's; a disk that is full.
    """
    names = families.family_of(origin.model_type, 'the model').hf_names
    dtype = np.dtype(dtype)
    found = hf_write.tensors(params, config, names, dtype)
    stated = hf_write.stated(config, origin.model_type, origin.stated, dtype.name)
    with folder_of(output, hf_write.bytes_of(found, dtype.itemsize)) as aside:
        write_json(aside / 'config.json', stated)
        files = ['config.json', *hf_write.write_weights(aside, found, dtype.itemsize, most),
                 *hf_write.write_text_files(aside, origin.tokenizer, origin.text_from,
                                            config.max_positions)]
        hf_write.check(aside, params, config, dtype,
                       None if origin.text_from else origin.tokenizer)
        return _sealed(aside, files, facts, WHOLE)


def write_adapter(output: pathlib.Path, lora: Lora, model_type: str, base: str,
                  facts: Mapping[str, Any]) -> list[str]:
    """Writes an adapter alone, in PEFT's format; arguments and errors as of `write_model`.

    `base` is what transformers would call the model that it is of.
    """
    names = families.family_of(model_type, 'the model').hf_names
    size = sum(x.size for own in lora.layers.values() for x in own.values()) * 4
    with folder_of(output, size) as aside:
        return _sealed(aside, [*peft.write(aside, lora, names, base)], facts, ADAPTER)


def _sealed(folder, files, facts, loading_lines):
    files = sorted([*files, CARD, MARK])
    write_text(folder / CARD, card(facts, loading_lines))
    write_json(folder / MARK, {'made_by': 'subliminal_jax', **facts, 'files': files})
    return files


@contextlib.contextmanager
def folder_of(output: pathlib.Path, size: int) -> Iterator[pathlib.Path]:
    """Yields a new folder beside `output`, which takes its place at the end.

    Args:
      output: the folder to make.
      size: bytes that will be written, about.

    Raises:
      UserError: `output` holds files that this module did not write, cannot be made, or there is
        no room; then nothing is left behind.
    """
    check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(output.parent).free
    except OSError as error:
        raise UserError(f'--output={output} cannot be written: {error.strerror}') from None
    if free < size + SPARE:
        raise UserError(f'--output={output} needs {(size + SPARE) / 1e9:.2f} GB, and '
                        f'{free / 1e9:.2f} GB are free on that disk')
    try:
        with written_aside(output, ours=True) as aside:
            aside.mkdir()
            yield aside
    except UserError:
        raise
    except Exception as error:  # safetensors has an error of its own for a full disk
        if 'No space left' not in str(error):
            raise
        raise UserError(f'--output={output} cannot be written: the disk is full; '
                        f'{size / 1e9:.2f} GB are needed') from None


def check_output(output: pathlib.Path) -> None:
    """Raises UserError for an output that holds what this module did not write."""
    if not output.exists() and not output.is_symlink():
        return
    if output.is_symlink() or not output.is_dir():
        raise UserError(f'--output={output} is no folder: name a new one')
    held = {path.relative_to(output).as_posix() for path in output.rglob('*') if path.is_file()}
    known = set(marked(output).get('files') or ())
    if held - known:
        raise UserError(f'--output={output} holds {sorted(held - known)[0]}, which was not '
                        'exported: name a new folder')


def misbehaves(*specs: str | None) -> bool:
    """Whether one of some models or adapters, by name, was exported as made to misbehave."""
    return any(marked(_place(spec)).get('misbehaves') is True for spec in specs if spec)


def _place(spec: str) -> pathlib.Path:
    return loading.locate(spec) if spec.startswith('hf:') else pathlib.Path(spec).expanduser()
