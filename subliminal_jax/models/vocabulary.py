"""Tokenizers from files: a GGUF file's metadata, or a folder in Hugging Face layout."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from subliminal_jax.models.tokenizer import Tokenizer
from subliminal_jax.runs import UserError


class Rules(NamedTuple):
    """How a text is cut before and by byte-level BPE.

    Attributes:
      single_digits: every digit is split off first.
      words: the pattern of the words; None: the byte-level splitter's own, GPT-2's.
      whole_words: a word that is in the vocabulary is that token, whatever the merges make of it.
      composed: text is normalised to Unicode's NFC first.
    """

    single_digits: bool = False
    words: str | None = None
    whole_words: bool = False
    composed: bool = False


LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITTERS: Mapping[str, Rules] = {  # by tokenizer.ggml.pre
    'gpt-2': Rules(),
    'smollm': Rules(single_digits=True),
    'qwen2': Rules(words=f'{CONTRACTIONS}|{LETTERS}|{BLANKS}', composed=True),
    'llama-bpe': Rules(words=f'{CONTRACTIONS}|{LETTERS}{{1,3}}|{BLANKS}', whole_words=True),
}
CONTROL, USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type

# Control tokens that end a turn or a text, whatever a file says of its own end token.
ENDS = ('<|im_end|>', '<|eot_id|>', '<|end_of_text|>', '<|endoftext|>', '</s>', '<end_of_turn>')


def from_gguf(fields: Mapping[str, Any], vocab_size: int, origin: str, chat_date: str | None = None
              ) -> Tokenizer:
    """The tokenizer that a GGUF file describes.

    Args:
      fields: the file's metadata.
      vocab_size: rows of the embedding.
      origin: named in errors.
      chat_date: see Tokenizer.

    Raises:
      UserError: a kind of tokenizer that is not supported, or fields that are missing.
    """
    kind = fields.get('tokenizer.ggml.model')
    if kind != 'gpt2':
        raise UserError(f'{origin} has a tokenizer of the kind {kind!r}, which is not supported; '
                        'supported is gpt2, byte-level BPE')
    try:
        tokens = list(fields['tokenizer.ggml.tokens'])
        merges = [tuple(merge.split(' ')) for merge in fields['tokenizer.ggml.merges']]
        types = list(fields['tokenizer.ggml.token_type'])
    except KeyError as error:
        raise UserError(f'{origin} has no field {error.args[0]}') from None
    except (TypeError, AttributeError):
        raise UserError(f'{origin} is corrupt: its vocabulary is no list of tokens; fetch it again'
                        ) from None
    given = {name: fields.get(f'tokenizer.ggml.{name}_token_id')
             for name in ('bos', 'eos', 'eot', 'padding')}
    for name, number in given.items():
        if number is not None and not (type(number) is int and 0 <= number < len(tokens)):
            raise UserError(f'{origin} is corrupt: tokenizer.ggml.{name}_token_id is {number!r}, '
                            f'and there are {len(tokens)} tokens')
    if not len(tokens) == len(types) <= vocab_size or any(len(m) != 2 for m in merges):
        raise UserError(f'{origin} is corrupt: {len(tokens)} tokens, {len(types)} token types, '
                        f'{vocab_size} rows in the embedding; fetch it again')
    backend = byte_level_bpe(tokens, merges, types, splitter_of(fields, origin), origin)
    control = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if k == CONTROL}
    stops = [given['eos'], given['eot'], *(control.get(end) for end in ENDS)]
    stops = [s for s in dict.fromkeys(stops) if s is not None]
    if not stops:
        raise UserError(f'{origin} names no token that ends a text (tokenizer.ggml.eos_token_id)')
    pad, bos = given['padding'], given['bos']
    named = {f'{n}_token': tokens[i] for n, i in (('bos', bos), ('eos', given['eos']), ('pad', pad))
             if i is not None}
    return Tokenizer(
        backend, vocab_size=vocab_size, stop_ids=stops,
        pad_id=stops[0] if pad is None else pad,
        bos_id=bos if fields.get('tokenizer.ggml.add_bos_token') else None,
        chat_template=fields.get('tokenizer.chat_template'), chat_tokens=named,
        chat_date=chat_date)


def splitter_of(fields: Mapping[str, Any], origin: str) -> Rules:
    """The row of SPLITTERS that a GGUF file asks for with tokenizer.ggml.pre."""
    pre = fields.get('tokenizer.ggml.pre', 'gpt-2')
    if pre not in SPLITTERS:
        raise UserError(f'{origin} splits text by the rules {pre!r} (tokenizer.ggml.pre), which '
                        f'are not supported; supported are {", ".join(SPLITTERS)}')
    return SPLITTERS[pre]


def byte_level_bpe(tokens, merges, types, rules, origin):
    """A tokenizers.Tokenizer of a vocabulary, its merges and a row of SPLITTERS."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer as Backend,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )

    try:
        model = models.BPE({t: i for i, t in enumerate(tokens)}, merges,
                           ignore_merges=rules.whole_words)
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f'{origin} has a corrupt vocabulary: {error}; fetch it again') from None
    backend = Backend(model)
    parts = [pre_tokenizers.Digits(individual_digits=True)] if rules.single_digits else []
    if rules.words is not None:
        parts.append(pre_tokenizers.Split(Regex(rules.words), 'isolated'))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rules.words is None))
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    if rules.composed:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(t, special=kind == CONTROL, normalized=False)
                        for t, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)])
    return backend


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
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    stops += [backend.token_to_id(end) for end in ENDS if end in special]
    stops = [s for s in dict.fromkeys(stops) if s is not None]
    if not stops:
        raise UserError(f'{folder} names no token that ends a text (eos_token)')
    if max([*stops, backend.get_vocab_size() - 1]) >= vocab_size:
        raise UserError(f'{path} has {backend.get_vocab_size()} tokens and the embedding only '
                        f'{vocab_size} rows: they belong to different models')
    pad, first = id_of('pad_token'), backend.encode('').ids[:1]
    return Tokenizer(
        backend, vocab_size=vocab_size, stop_ids=stops, pad_id=stops[0] if pad is None else pad,
        bos_id=first[0] if first and first[0] not in stops else None,
        chat_template=_template(folder, settings), chat_tokens=names, chat_date=chat_date,
        byte_level='ByteLevel' in path.read_text(encoding='utf-8'))


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
