"""Tokenizers from GGUF files: byte-level BPE by merges, and SentencePiece's BPE by scores.

What a file leaves out is llama.cpp's default for its kind, where there is one; rules that a file
does not name are taken only where its vocabulary leaves no doubt.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.models.tokenizer import Tokenizer
from subliminal_jax.models.vocabulary import ENDS
from subliminal_jax.runs import UserError, option


def otherwise() -> str:
    """What helps where a file does not say how it reads text."""
    return (f"pass the original model's tokenizer with {option('tokenizer', 'model.tokenizer')}="
            'FOLDER (a tokenizer.json)')


class Rules(NamedTuple):
    """How a text is cut before and by byte-level BPE.

    Attributes:
      single_digits: every digit is split off first.
      words: the pattern of the words; None: the byte-level splitter's own, GPT-2's.
      whole_words: a word that is in the vocabulary is that token, whatever the merges make of it.
      composed: text is normalised to Unicode's NFC first.
      begins: a text begins with the begin token where the file does not say.
    """

    single_digits: bool = False
    words: str | None = None
    whole_words: bool = False
    composed: bool = False
    begins: bool = False


LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITTERS: Mapping[str, Rules] = {  # by tokenizer.ggml.pre
    'gpt-2': Rules(),
    'smollm': Rules(single_digits=True),
    'qwen2': Rules(words=f'{CONTRACTIONS}|{LETTERS}|{BLANKS}', composed=True),
    'llama-bpe': Rules(words=f'{CONTRACTIONS}|{LETTERS}{{1,3}}|{BLANKS}', whole_words=True,
                       begins=True),
}
# Vocabularies that files without tokenizer.ggml.pre have: (id, spelling) of a control token that
# no other vocabulary has there.
KNOWN: Mapping[tuple[int, str], str] = {
    (128000, '<|begin_of_text|>'): 'llama-bpe', (151643, '<|endoftext|>'): 'qwen2',
    (50256, '<|endoftext|>'): 'gpt-2'}
UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6  # of tokenizer.ggml.token_type
BLANK = '\u2581'


def from_gguf(fields: Mapping[str, Any], vocab_size: int, origin: str, chat_date: str | None = None
              ) -> Tokenizer:
    """The tokenizer that a GGUF file describes.

    Args:
      fields: the file's metadata.
      vocab_size: rows of the embedding.
      origin: named in errors.
      chat_date: see Tokenizer.

    Raises:
      UserError: a kind of tokenizer or rules that are not supported or in doubt, or fields that
        are missing.
    """
    kind = fields.get('tokenizer.ggml.model')
    if kind not in ('gpt2', 'llama'):
        raise UserError(f'{origin} has a tokenizer of the kind {kind!r}, which is not supported; '
                        'supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE); or '
                        + otherwise())
    tokens, types, given = _vocabulary(fields, vocab_size, origin)
    notes = []
    if kind == 'gpt2':
        rules, notes = splitter_of(fields, tokens, origin)
        backend, begins = byte_level_bpe(tokens, types, rules, fields, origin), rules.begins
    else:
        backend, begins = sentencepiece_bpe(tokens, types, fields, given, origin), True
    control = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if k == CONTROL}
    stops = [given['eos'], given['eot'], given['eom'], *(control.get(end) for end in ENDS)]
    stops = [s for s in dict.fromkeys(stops) if s is not None]
    if not stops:
        raise UserError(f'{origin} names no token that ends a text (tokenizer.ggml.eos_token_id)')
    pad, bos = given['padding'], given['bos']
    named = {f'{n}_token': tokens[i] for n, i in (('bos', bos), ('eos', given['eos']), ('pad', pad))
             if i is not None}
    stated = fields.get('tokenizer.ggml.add_bos_token')
    if stated is None and begins:
        notes = [*notes, f'{origin} does not say whether a token begins a text '
                 '(tokenizer.ggml.add_bos_token): one does, as in its kind of tokenizer']
    begins = begins if stated is None else bool(stated)
    if begins and bos is None:
        raise UserError(f'{origin} begins texts with a token and does not say which '
                        f'(tokenizer.ggml.bos_token_id): {otherwise()}')
    return Tokenizer(
        backend, vocab_size=vocab_size, stop_ids=stops,
        pad_id=stops[0] if pad is None else pad, bos_id=bos if begins else None,
        chat_template=fields.get('tokenizer.chat_template'), chat_tokens=named,
        chat_date=chat_date, byte_level=kind == 'gpt2', name=origin, notes=notes)


def _vocabulary(fields, vocab_size, origin):
    """(tokens, their types, ids of the named ones), checked."""
    try:
        tokens = list(fields['tokenizer.ggml.tokens'])
        types = list(fields['tokenizer.ggml.token_type'])
    except KeyError as error:
        raise UserError(f'{origin} has no field {error.args[0]}') from None
    except TypeError:
        raise UserError(f'{origin} is corrupt: its vocabulary is no list of tokens; fetch it again'
                        ) from None
    if not len(tokens) == len(types) <= vocab_size or not all(isinstance(t, str) for t in tokens):
        raise UserError(f'{origin} is corrupt: {len(tokens)} tokens, {len(types)} token types, '
                        f'{vocab_size} rows in the embedding; fetch it again')
    if np.asarray(types).dtype.kind not in 'iu':
        raise UserError(f'{origin} is corrupt: its token types are no whole numbers; fetch it again'
                        )
    given = {name: fields.get(f'tokenizer.ggml.{name}_token_id')
             for name in ('bos', 'eos', 'eot', 'eom', 'padding', 'unknown')}
    for name, number in given.items():
        if number is not None and not (type(number) is int and 0 <= number < len(tokens)):
            raise UserError(f'{origin} is corrupt: tokenizer.ggml.{name}_token_id is {number!r}, '
                            f'and there are {len(tokens)} tokens')
    return tokens, types, given


def splitter_of(fields: Mapping[str, Any], tokens: list[str], origin: str
                ) -> tuple[Rules, list[str]]:
    """The row of SPLITTERS for a file, and notes on how it was found.

    By tokenizer.ggml.pre; files from before that field existed (or with 'default' in it) by their
    vocabulary, if it is one that is known.

    Raises:
      UserError: rules that are not supported, or none and an unknown vocabulary: 1234 may then be
        12 34, 123 4 or 1 2 3 4.
    """
    pre = fields.get('tokenizer.ggml.pre', 'default')
    if pre in SPLITTERS:
        return SPLITTERS[pre], []
    if pre != 'default':
        raise UserError(f'{origin} splits text by the rules {pre!r} (tokenizer.ggml.pre), which '
                        f'are not supported; supported are {", ".join(SPLITTERS)}; or '
                        f'{otherwise()}')
    for (place, spelling), name in KNOWN.items():
        if place < len(tokens) and tokens[place] == spelling:
            return SPLITTERS[name], [f'{origin} names no rules for splitting text '
                                     f'(tokenizer.ggml.pre): {name}, by its token {spelling}']
    raise UserError(f'{origin} names no rules for splitting text (tokenizer.ggml.pre), and its '
                    f'vocabulary does not tell them: numbers could be cut otherwise; {otherwise()}')


def byte_level_bpe(tokens: list[str], types: list[int], rules: Rules, fields: Mapping[str, Any],
                   origin: str) -> Any:
    """A tokenizers.Tokenizer of a vocabulary, its merges and a row of SPLITTERS."""
    from tokenizers import (
        Regex,
        Tokenizer as Backend,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )

    if 'tokenizer.ggml.merges' not in fields:
        raise UserError(f'{origin} has no field tokenizer.ggml.merges')
    try:
        merges = [tuple(merge.split(' ')) for merge in fields['tokenizer.ggml.merges']]
    except (TypeError, AttributeError):
        raise UserError(f'{origin} is corrupt: its vocabulary is no list of tokens; fetch it again'
                        ) from None
    if any(len(merge) != 2 for merge in merges):
        raise UserError(f'{origin} is corrupt: a merge is not of two tokens; fetch it again')
    backend = Backend(_bpe(models.BPE, tokens, merges, origin, ignore_merges=rules.whole_words))
    parts = [pre_tokenizers.Digits(individual_digits=True)] if rules.single_digits else []
    if rules.words is not None:
        parts.append(pre_tokenizers.Split(Regex(rules.words), 'isolated'))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rules.words is None))
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    if rules.composed:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    _add(backend, tokens, types, (CONTROL,))
    return backend


def sentencepiece_bpe(tokens: list[str], types: list[int], fields: Mapping[str, Any],
                      given: Mapping[str, int | None], origin: str) -> Any:
    """A tokenizers.Tokenizer of SentencePiece's BPE, which joins the pair of the best score."""
    from tokenizers import Tokenizer as Backend, decoders, models, normalizers

    scores = fields.get('tokenizer.ggml.scores')
    if scores is None or np.shape(scores) != (len(tokens),) or np.asarray(
            scores).dtype.kind not in 'fiu':
        raise UserError(f'{origin} has no field tokenizer.ggml.scores for its tokens')
    for key in ('precompiled_charsmap', 'remove_extra_whitespaces'):
        value = fields.get(f'tokenizer.ggml.{key}')
        if value is not None and (len(value) if hasattr(value, '__len__') else value):
            raise UserError(f'{origin} normalises text (tokenizer.ggml.{key}), which is not '
                            f'supported; {otherwise()}')
    unknown = given['unknown']
    if unknown is None and UNKNOWN in types:
        unknown = types.index(UNKNOWN)
    backend = Backend(_bpe(
        models.BPE, tokens, merges_of(tokens, types, scores), origin, fuse_unk=True,
        byte_fallback=BYTE in types, unk_token=None if unknown is None else tokens[unknown]))
    prefix = fields.get('tokenizer.ggml.add_space_prefix', True)
    backend.normalizer = normalizers.Sequence([
        *([normalizers.Prepend(BLANK)] if prefix else []), normalizers.Replace(' ', BLANK)])
    backend.decoder = decoders.Sequence([
        decoders.Replace(BLANK, ' '), decoders.ByteFallback(), decoders.Fuse(),
        *([decoders.Strip(' ', 1, 0)] if prefix else [])])
    _add(backend, tokens, types, (CONTROL, UNKNOWN))
    return backend


def merges_of(tokens: list[str], types: list[int], scores: Any) -> list[tuple[str, str]]:
    """Merges that do what scores do: the pair whose whole has the best score is joined first."""
    pieces = {t: float(s) for t, k, s in zip(tokens, types, scores)
              if k not in (CONTROL, UNKNOWN, UNUSED, BYTE)}
    pairs = [(score, left, piece[len(left):]) for piece, score in pieces.items()
             for left in (piece[:n] for n in range(1, len(piece)))
             if left in pieces and piece[len(left):] in pieces]
    pairs.sort(key=lambda pair: (-pair[0], -len(pair[1]), -len(pair[2])))
    return [(left, right) for _, left, right in pairs]


def _bpe(make, tokens, merges, origin, **settings):
    try:
        return make({t: i for i, t in enumerate(tokens)}, merges, **settings)
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f'{origin} has a corrupt vocabulary: {error}; fetch it again') from None


def _add(backend, tokens, types, special):
    from tokenizers import AddedToken

    backend.add_tokens([AddedToken(t, special=kind in special, normalized=BLANK in t)
                        for t, kind in zip(tokens, types) if kind in (*special, USER_DEFINED)])
