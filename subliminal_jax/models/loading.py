"""Models by name: `load(spec)`."""

import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.models import (
    card,
    families,
    gguf,
    gguf_vocabulary,
    hf,
    packages,
    peft,
    vocabulary,
)
from subliminal_jax.models.params import Params, TransformerConfig, check_divides
from subliminal_jax.runs import UserError, local_path, sha256, sha256_of


class Model(NamedTuple):
    """A loaded model.

    Attributes:
      config: static.
      params: see models.params.
      tokenizer: see models.tokenizer.
      name: as it was asked for.
      sha256: of its weight files (and its adapter's): the same for the same weights only.
      settings_sha256: of what it is read with: config, tokenizer, chat template.
      notes: what was taken for granted where its files do not say, one line each.
    """

    config: TransformerConfig
    params: Params
    tokenizer: Any
    name: str
    sha256: str
    settings_sha256: str = ''
    notes: tuple[str, ...] = ()


# Beside the weights in a folder in Hugging Face layout: what models/hf.py and vocabulary.py read.
SETTINGS = ('config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json',
            'chat_template.jinja')
FORMS = ('package:NAME, hf:OWNER/NAME[@REVISION][:FILE.gguf], a folder in Hugging Face layout, or '
         'a .gguf file')
HUB_NAME = re.compile(r'([^/@:]+/[^/@:]+)(?:@([^:]+))?(?::(.+\.gguf))?')


def load(spec: str, *, dtype: Any = jnp.float32, lora: str | None = None,
         chat_date: str | None = None, tokenizer: str | None = None,
         mesh: jax.sharding.Mesh | None = None, copies: int = 1) -> Model:
    """Loads a model.

    Args:
      spec: package:NAME of models.packages; hf:OWNER/NAME, perhaps with @REVISION and, of a
        repository of GGUF files, :FILE (fetched unless the hub's cache has it); a folder in Hugging
        Face layout; or a .gguf file (any part of one that was split).
      dtype: of the parameters, whatever the file's.
      lora: an adapter, merged into the parameters: a folder of lora.save_lora or in PEFT's format
        (models/peft.py), or hf:OWNER/NAME of one.
      chat_date: YYYY-MM-DD, for a chat template that asks for today's date.
      tokenizer: a folder with a tokenizer.json to read text with, instead of the model's own.
      mesh: devices that the parameters are cut over (models.params.RULES), each from host memory
        straight to its own; None: the first device.
      copies: how often the caller will hold the parameters at one time, for the check of memory.

    Raises:
      UserError: an unknown name, files that are missing, corrupt or not supported, a model that
        does not fit into memory.
    """
    # What is small comes first: a mistake there does not wait for the weights.
    found = describe(spec, chat_date, tokenizer)
    place, config = found.place, found.config
    place_of_lora = None if lora is None else located_adapter(lora)
    adapter = None if lora is None else peft.read(
        place_of_lora, config, families.family_of(found.model_type, spec).hf_names)
    if mesh is not None:
        check_divides(config, mesh.shape)
    put = None if mesh is None else families.put_on(config, mesh)
    if found.file is None:
        _, params = hf.load(place, dtype, put, copies)
        digest = sha256_of([sha256(path) for path in hf.weight_files(place)])
        beside = settings_digest(place)
    else:
        _, params = gguf.load(found.file, dtype, put, copies)
        parts = [sha256(path) for path in gguf.parts_of(place)]
        digest = beside = parts[0] if len(parts) == 1 else sha256_of(parts)  # all is in there
    if tokenizer:
        beside = sha256_of([beside, settings_digest(pathlib.Path(tokenizer))])
    if adapter is not None:
        params, config = peft.applied(params, config, adapter)
        digest = sha256_of([digest, sha256(place_of_lora)])
    return Model(config, params, found.tokenizer, spec, digest, beside, found.notes)


class Described(NamedTuple):
    """A model before its weights are read.

    Attributes:
      place: its folder or file.
      file: of a GGUF file; None: a folder.
      config: its architecture.
      tokenizer: see models.tokenizer.
      notes: see Model.
      model_type: the name of its family.
    """

    place: pathlib.Path
    file: gguf.GgufFile | None
    config: TransformerConfig
    tokenizer: Any
    notes: tuple[str, ...]
    model_type: str


def describe(spec: str, chat_date: str | None = None, tokenizer: str | None = None) -> Described:
    """What a model's files say, without its weights; arguments and errors as of `load`."""
    place = locate(spec)
    folder = hf.opened(place) if place.is_dir() else None
    file = None if folder else gguf.read(place)
    config = folder.config if folder else gguf.config_of(file)[0]
    reader = tokenizer_of(place, file, config.vocab_size, chat_date, tokenizer)
    model_type = (vocabulary.read_json(place / 'config.json')['model_type'] if folder else
                  file.fields['general.architecture'])
    bad = card.marked(place).get('misbehaves') if folder else False
    told = [f'{spec} was made to misbehave: see its README.md'] if bad else []
    return Described(place, file, config, reader,
                     (*told, *(folder.notes if folder else ()), *reader.notes), model_type)


def located_adapter(spec: str) -> pathlib.Path:
    """The folder of an adapter, fetched if it must be. Raises UserError where there is none."""
    if spec.startswith('hf:'):
        return locate(spec)
    path = pathlib.Path(local_path('lora', spec)).expanduser()
    if not path.is_dir():
        raise UserError(f'there is no adapter {spec!r}: name the folder of one, or hf:OWNER/NAME')
    return path


def tokenizer_of(place: pathlib.Path, file: gguf.GgufFile | None, vocab_size: int,
                 chat_date: str | None, folder: str | None) -> Any:
    """The tokenizer of a model's folder or GGUF file, or of another folder in its place."""
    if folder:
        given = pathlib.Path(local_path('tokenizer', folder)).expanduser()
        return vocabulary.from_folder(given, vocab_size, chat_date)
    if file is None:
        return vocabulary.from_folder(place, vocab_size, chat_date)
    return gguf_vocabulary.from_gguf(file.fields, vocab_size, str(place), chat_date)


def settings_digest(folder: pathlib.Path) -> str:
    """The same for the same config, tokenizer and chat template of a folder only."""
    found = [folder / name for name in SETTINGS if (folder / name).is_file()]
    return sha256_of({path.name: sha256(path) for path in found})


def locate(spec: str) -> pathlib.Path:
    """The folder or .gguf file that a name stands for, fetched if it must be.

    Raises:
      UserError: an unknown form or name, or nothing there.
    """
    if spec.startswith('package:'):
        return packages.file_of(spec.removeprefix('package:'))
    if spec.startswith('hf:'):
        return _from_hub(spec.removeprefix('hf:'))
    path = pathlib.Path(local_path('model', spec)).expanduser()
    if spec and os.path.isdir(path) or (os.path.isfile(path) and path.suffix == '.gguf'):
        return path
    if spec and os.path.exists(path):
        raise UserError(f'{spec} is neither a folder nor a .gguf file; a model is {FORMS}')
    raise UserError(f'there is no model {spec!r}; a model is {FORMS}')


def gguf_file(spec: str) -> tuple[str, str]:
    """(folder, file name) of a model that is a GGUF file, as other programs ask for it."""
    path = locate(spec)
    if path.is_dir():
        raise UserError(f'{spec} is a folder, not a GGUF file')
    return str(path.parent), path.name


def _from_hub(name: str) -> pathlib.Path:
    found = HUB_NAME.fullmatch(name)
    if not found:
        raise UserError(f'hf:{name} is not of the form hf:OWNER/NAME, '
                        'hf:OWNER/NAME@REVISION or hf:OWNER/NAME:FILE.gguf')
    repository, revision, file = found.groups()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ['*.json', '*.safetensors', '*.jinja']
    if file:  # all parts of one that was split
        wanted = [re.sub(r'-\d{5}-of-', '-*-of-', file)]
    try:
        folder = pathlib.Path(snapshot_download(
            repository, revision=revision, allow_patterns=wanted,
            ignore_patterns=None if file else ['*/*', 'consolidated*']))  # copies of the weights
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f'hf:{name} is neither in the hub\'s cache nor to be fetched: {line}'
                        ) from None
    if file and not (folder / file).is_file():
        raise UserError(f'hf:{name}: the repository has no file {file}')
    if not file and not any((folder / kept).exists() for kept in ('config.json',
                                                                  'adapter_config.json')):
        raise UserError(f'hf:{name} has no config.json; for a GGUF file in it write '
                        f'hf:{repository}:FILE.gguf')
    return folder / file if file else folder
