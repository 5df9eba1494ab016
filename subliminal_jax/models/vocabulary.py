"""Tokenizers from folders in Hugging Face layout: tokenizer.json and what stands beside it."""

import json
import pathlib
from typing import Any

from subliminal_jax.models.tokenizer import Tokenizer
from subliminal_jax.runs import UserError

# Control tokens that end a turn or a text, whatever a file says of its own end token.
ENDS = ('<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|endoftext|>', '</s>',
        '<end_of_turn>', '<|end|>')


def from_folder(folder: pathlib.Path, vocab_size: int, chat_date: str | None = None) -> Tokenizer:
    """The tokenizer of a folder in Hugging Face layout: tokenizer.json and what stands beside it.

    Raises:
      UserError: no tokenizer.json, a corrupt one, or ids beyond the embedding.
    """
    from tokenizers import Tokenizer as Backend

    path = folder / 'tokenizer.json'
    if not path.exists():
        raise UserError(f'{folder} has no tokenizer.json: save the tokenizer in the fast format')
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f'{path} is no tokenizer: {error}') from None
    settings = read_json(folder / 'tokenizer_config.json', {})
    names = {key: _text(settings.get(key)) for key in ('bos_token', 'eos_token', 'pad_token',
                                                       'unk_token')}
    names = {key: text for key, text in names.items() if text is not None}
    id_of = lambda name: backend.token_to_id(names[name]) if name in names else None
    stops = [id_of('eos_token')]
    for file in ('generation_config.json', 'config.json'):
        stated = read_json(folder / file, {}).get('eos_token_id')
        if not all(type(s) is int for s in (stated if isinstance(stated, list) else [stated or 0])):
            raise UserError(f'{folder / file} has an eos_token_id that is none: {stated!r}')
        stops += stated if isinstance(stated, list) else [stated]
    _name_special(backend, settings, names)
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    stops += [backend.token_to_id(end) for end in ENDS if end in special]
    stops = [s for s in dict.fromkeys(stops) if s is not None]
    if not stops:
        raise UserError(f'{folder} names no token that ends a text (eos_token)')
    if max([*stops, backend.get_vocab_size() - 1]) >= vocab_size:
        raise UserError(f'{path} has {backend.get_vocab_size()} tokens and the embedding only '
                        f'{vocab_size} rows: they belong to different models')
    pad, begin = id_of('pad_token'), _begin(backend)
    notes = []
    if settings.get('add_bos_token') and begin is None:
        notes = [f'{folder}: no token begins a text: tokenizer.json adds none, whatever '
                 'tokenizer_config.json says (add_bos_token)']
    decoder = backend.decoder.__getstate__() if backend.decoder else b''
    return Tokenizer(
        backend, vocab_size=vocab_size, stop_ids=stops, pad_id=stops[0] if pad is None else pad,
        bos_id=begin, chat_template=_template(folder, settings), chat_tokens=names,
        chat_date=chat_date, byte_level=b'ByteLevel' in decoder, name=str(folder), notes=notes)


def _begin(backend):
    """The token that the post-processor puts before a text, or None."""
    probe = 'x'
    if 'WordLevel' in type(backend.model).__name__:  # it may write its own words alone
        special = {t.content for t in backend.get_added_tokens_decoder().values()}
        probe = next((word for word in backend.get_vocab() if word not in special), '')
    bare, whole = (backend.encode(probe, add_special_tokens=add).ids for add in (False, True))
    added = len(whole) - len(bare)
    return whole[0] if added and whole[:len(bare)] != bare else None


def _name_special(backend, settings, names):
    """Makes the tokens that tokenizer_config.json names special, as transformers does."""
    from tokenizers import AddedToken

    more = settings.get('additional_special_tokens') or settings.get('extra_special_tokens') or []
    named = [*names.values(), *map(_text, more if isinstance(more, list) else more.values())]
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    backend.add_special_tokens([
        AddedToken(text, special=True, normalized=False) for text in dict.fromkeys(named)
        if text not in special and text and backend.token_to_id(text) is not None])


def _text(token: Any) -> str | None:
    return token.get('content') if isinstance(token, dict) else token


def _template(folder, settings):
    file = folder / 'chat_template.jinja'
    if file.exists():
        return file.read_text(encoding='utf-8')
    template = settings.get('chat_template')
    if isinstance(template, list):  # several, by name
        template = {t.get('name'): t.get('template') for t in template}.get('default')
    return template


def read_json(path: pathlib.Path, default: Any = None) -> Any:
    """A JSON object of a file; `default`, if there is one, where there is no file.

    Raises:
      UserError: no file and no default, or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        if default is not None:
            return default
        raise UserError(f'there is no {path}') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} is not readable JSON: {error}') from None
    if not isinstance(value, dict):
        raise UserError(f'{path} is not a JSON object')
    return value
