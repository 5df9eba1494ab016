"""Tokenizers from folders in Hugging Face layout: tokenizer.json and what stands beside it."""

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from subliminal_jax.models.tokenizer import Tokenizer
from subliminal_jax.runs import UserError, read_text, reading as files

# Control tokens that end a turn or a text, whatever a file says of its own end token.
ENDS = ('<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|endoftext|>', '</s>',
        '<end_of_turn>', '<|end|>')

MOST_GROWTH = 64  # characters that a normaliser may make of one


def from_folder(folder: pathlib.Path, vocab_size: int, chat_date: str | None = None) -> Tokenizer:
    """The tokenizer of a folder in Hugging Face layout: tokenizer.json and what stands beside it.

    Raises:
      UserError: no tokenizer.json, a corrupt one, or ids beyond the embedding.
    """
    from tokenizers import Tokenizer as Backend

    path = folder / 'tokenizer.json'
    if not path.exists():
        raise UserError(f'{folder} has no tokenizer.json: save the tokenizer in the fast format')
    check_growth(read_json(path), path)
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f'{path} is no tokenizer: {str(error)[:300]}') from None
    backend.no_truncation()
    backend.no_padding()
    settings = read_json(folder / 'tokenizer_config.json', {})
    origin = folder / 'tokenizer_config.json'
    names = {key: _text(settings.get(key), key, origin)
             for key in ('bos_token', 'eos_token', 'pad_token', 'unk_token')}
    names = {key: text for key, text in names.items() if text is not None}
    id_of = lambda name: backend.token_to_id(names[name]) if name in names else None
    stops = [id_of('eos_token')]
    for file in ('generation_config.json', 'config.json'):
        stated = read_json(folder / file, {}).get('eos_token_id')
        ids = stated if isinstance(stated, list) else [] if stated is None else [stated]
        if not all(type(s) is int and s >= 0 for s in ids):
            raise UserError(f'{folder / file} has an eos_token_id that is none: {stated!r:.60}')
        stops += ids
    _name_special(backend, settings, names, origin)
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


def _name_special(backend, settings, names, origin):
    """Makes the tokens that tokenizer_config.json names special, as transformers does."""
    from tokenizers import AddedToken

    more = settings.get('additional_special_tokens') or settings.get('extra_special_tokens') or []
    if not isinstance(more, list | dict):
        raise UserError(f'{origin} has special tokens that are none: {more!r:.60}')
    more = more if isinstance(more, list) else more.values()
    named = [*names.values(), *(_text(token, 'special tokens', origin) for token in more)]
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    backend.add_special_tokens([
        AddedToken(text, special=True, normalized=False) for text in dict.fromkeys(named)
        if text not in special and text and backend.token_to_id(text) is not None])


def _text(token: Any, key: str, origin: pathlib.Path) -> str | None:
    text = token.get('content') if isinstance(token, dict) else token
    if text is not None and not isinstance(text, str):
        raise UserError(f'{origin} has {key} = {token!r:.60}, which is no text')
    return text


def _template(folder, settings):
    file = folder / 'chat_template.jinja'
    if file.exists():
        return read_text(file)
    template = settings.get('chat_template')
    if isinstance(template, list) and all(isinstance(t, dict) for t in template):  # by name
        template = next((t.get('template') for t in template if t.get('name') == 'default'), None)
    if template is not None and not isinstance(template, str):
        raise UserError(f'{folder / "tokenizer_config.json"} has chat_template = '
                        f'{template!r:.60}, which is no text')
    return template


def check_growth(stated: Mapping[str, Any], origin: pathlib.Path) -> None:
    """Refuses a tokenizer whose rules make a text longer, one after the other, without bounds.

    Raises:
      UserError: one character could become more than MOST_GROWTH.
    """
    for part in ('normalizer', 'decoder'):
        if (found := _growth(stated.get(part))) > MOST_GROWTH:
            raise UserError(f'{origin}: its {part} makes {found} characters of one, and '
                            f'{MOST_GROWTH} are the most')


def _growth(rule):
    """The most characters that a normaliser or a decoder makes of one."""
    if not isinstance(rule, dict):
        return 1
    parts = rule.get('normalizers', rule.get('decoders'))
    if isinstance(parts, list):
        return math.prod(map(_growth, parts))
    kind = str(rule.get('type'))
    if kind == 'Precompiled':  # a table of the file's own
        return 4
    added = rule.get({'Replace': 'content', 'Prepend': 'prepend'}.get(kind), '')
    return max(1, (len(added) if isinstance(added, str) else 0) + (kind == 'Prepend'))


def read_json(path: pathlib.Path, default: Any = None) -> Any:
    """A JSON object of a file; `default`, if there is one, where there is no file.

    Raises:
      UserError: no file and no default, or not a JSON object.
    """
    if not os.path.lexists(path):
        if default is None:
            raise UserError(f'there is no {path}')
        return default
    return files.read_json(path, 'fetch it again')
