"""Tokenizers: one small interface over tokenizer.json, a GGUF file's vocabulary, or a word list.

Every tokenizer has
  encode(text, allow_special=False) -> list[int]    nothing is added; the spelling of a control
                                                    token is that token only with allow_special,
                                                    and only where it is not marked
  decode(ids, follows=False) -> str                 control tokens as their spelling
  token_bytes(id) -> bytes                          the bytes that one token stands for
  marked(text) -> str                               control tokens that it spells stay text
  spelled(text) -> list[str]                        these control tokens
  chat(messages, add_generation_prompt=True, allow_special=False) -> str
                                                    rendered, to be encoded with allow_special
  name, vocab_size, pad_id, has_chat, notes
  bos_id                                            what a text begins with, or None
  eos_id                                            what ends a text
  stop_ids                                          all that end an answer, first the token that
                                                    follows one in the chat template
  blank_after_control                               a blank is put before text after a control token
"""

import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.models import controls, templates
from subliminal_jax.models.controls import MARK, is_marked, unmarked
from subliminal_jax.runs import UserError, option

Message = Mapping[str, str]
PROBE = 'Quokka'  # an answer, to see what a template puts around one
ANCHOR = '\ufdd1anchor\ufdd1'


class UnknownWord(UserError, KeyError):
    """A word that a word list does not hold."""

    __str__ = Exception.__str__


class Parts(NamedTuple):
    """What a tokenizer is made of, to be written: the backend, the chat template, and the text of
    the tokens that the template may name (bos_token, ...)."""

    backend: Any
    template: str | None
    tokens: Mapping[str, str]


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with the chat template that came with it."""

    def __init__(self, backend: Any, *, vocab_size: int, stop_ids: Sequence[int], pad_id: int,
                 bos_id: int | None = None, chat_template: str | None = None,
                 chat_tokens: Mapping[str, str] | None = None, chat_date: str | None = None,
                 byte_level: bool = True, name: str = 'the model', notes: Sequence[str] = ()):
        """Wraps a backend.

        Args:
          backend: a tokenizers.Tokenizer, without truncation and padding.
          vocab_size: rows of the embedding; ids are below it.
          stop_ids: tokens that end an answer, as the model's files list them, the text's end first.
          pad_id, bos_id: see the module.
          chat_template: a Jinja template, untrusted.
          chat_tokens: names that the template may use, such as bos_token, with their text.
          chat_date: the date that a template which asks for it is given (YYYY-MM-DD).
          byte_level: tokens are spelled in the byte-level alphabet, else in SentencePiece's.
          name: where it comes from, for errors.
          notes: what was taken for granted when it was read, one line each.
        """
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._byte_level = backend, byte_level
        self._template, self._chat_tokens = chat_template, dict(chat_tokens or {})
        check_date(chat_date)
        self._date = chat_date
        self.vocab_size, self.pad_id, self.bos_id = vocab_size, pad_id, bos_id
        self.eos_id, self._listed = stop_ids[0], tuple(stop_ids)
        self.name, self.notes = name, tuple(notes)
        added = backend.get_added_tokens_decoder()
        self._added = {i: t.content for i, t in added.items()}
        self._controls = {i: t.content for i, t in added.items() if t.special}

    def parts(self) -> Parts:
        """What it is made of."""
        return Parts(self._backend, self._template, self._chat_tokens)

    @property
    def has_chat(self) -> bool:
        """Whether there is a chat template."""
        return self._template is not None

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: what the template puts behind one, then the files' list."""
        end = self._turn_end() if self.has_chat else None
        return tuple(dict.fromkeys(([] if end is None else [end]) + [*self._listed]))

    def _turn_end(self) -> int | None:
        said = [{'role': 'user', 'content': 'Well?'}, {'role': 'assistant', 'content': PROBE}]
        try:
            _, found, after = self.chat(said, False).rpartition(PROBE)
        except UserError:  # said where the template is asked for
            return None
        ids = self.encode(after, allow_special=True) if found else []
        return next((i for i in ids if i in self._controls), None)

    @functools.cached_property
    def blank_after_control(self) -> bool:
        """Whether text that follows a control token gets a blank of the tokenizer's own."""
        end = self._backend.id_to_token(self.eos_id)
        try:
            ids = self.encode(f'{end}{PROBE}', allow_special=True)[1:]
        except UnknownWord:  # a list of words
            return False
        return self.decode(ids, follows=True) == f' {PROBE}'

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text; nothing is added to it."""
        if allow_special and MARK in text:
            return self._encode_marked(text)
        self._backend.encode_special_tokens = not allow_special
        return self._encoded(text).ids

    def _encoded(self, text, backend=None):
        """Of the library; what it raises, panics included, is said in one line."""
        try:
            return (backend or self._backend).encode(text, add_special_tokens=False)
        except Exception:  # of a list of words; the library raises bare Exceptions
            raise UnknownWord(f'the vocabulary of {self.name} cannot write {text[:60]!r}') from None
        except BaseException as error:
            if type(error).__name__ == 'PanicException':
                raise UserError(f'{self.name}: the tokenizer fails on {text[:40]!r}: '
                                f'{str(error)[:200]}') from None
            raise

    def _encode_marked(self, text):
        """Control tokens cut a text apart, those without a mark alone; the rest is text."""
        self._backend.encode_special_tokens = False
        whole = self._encoded(text)
        ids, done = [], 0
        for token, (start, end) in zip(whole.ids, whole.offsets):
            if token in self._controls and not is_marked(
                    text, text.find(self._controls[token], start)):
                ids += self._encode_part(unmarked(text[done:start]), done > 0) + [token]
                done = end
        return ids + self._encode_part(unmarked(text[done:]), done > 0)

    def _encode_part(self, text, follows):
        """Ids of a part of a text, all of it text; `follows`: a control token stands before it."""
        if not text or not follows:
            return self.encode(text)
        return self._encoded(ANCHOR + text, self._after).ids[1:]

    @functools.cached_property
    def _after(self):
        """The backend with a token to put before what follows one; the vocabulary has none such."""
        from tokenizers import AddedToken

        backend = type(self._backend).from_str(self._backend.to_str())
        backend.add_tokens([AddedToken(ANCHOR, normalized=False)])
        backend.encode_special_tokens = True
        return backend

    def decode(self, ids: Sequence[int], follows: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD.

        Args:
          ids: of tokens.
          follows: they follow others: a blank that the first stands for is in the text. At the
            beginning of a text it would be the tokenizer's own.
        """
        before = [self.eos_id] if follows else []
        text = self._backend.decode([*before, *map(int, ids)], skip_special_tokens=False)
        skip = self._backend.decode(before, skip_special_tokens=False) if follows else ''
        return text.removeprefix(skip)

    def token_bytes(self, token_id: int) -> bytes:
        """What one token stands for."""
        if token_id in self._added:
            return self._added[token_id].encode()
        spelling = self._backend.id_to_token(token_id)
        if spelling is None:
            raise UserError(f'token {token_id} is not in the vocabulary')
        if self._byte_level:
            return bytes(byte_alphabet()[c] for c in spelling)
        if len(spelling) == 6 and spelling.startswith('<0x'):
            return bytes([int(spelling[3:5], 16)])
        return spelling.replace('\u2581', ' ').encode()

    def marked(self, text: str) -> str:
        """The text, with control tokens that it spells marked as text (models/controls.py)."""
        return controls.marked(text, self._controls.values())

    def spelled(self, text: str) -> list[str]:
        """The control tokens that a text spells."""
        return controls.spelled(text, self._controls.values())

    def is_control(self, token_id: int) -> bool:
        """Whether a token is a control token: no text is made of it."""
        return token_id in self._controls

    def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True,
             allow_special: bool = False) -> str:
        """The text of a conversation, to be encoded with allow_special.

        Args:
          messages: {'role', 'content'} each.
          add_generation_prompt: end where the assistant's answer begins.
          allow_special: control tokens that a message spells become tokens; else they are marked.

        Raises:
          UserError: no template, a template that fails, or one that asks for today's date.
        """
        if self._template is None:
            raise UserError('the model has no chat template: give text without a template, or '
                            'take a model that was tuned for chat')
        if not allow_special:
            messages = [{**m, 'content': self.marked(m['content'])} for m in messages]
        return templates.render(self._template, messages, add_generation_prompt, self._date,
                                self._chat_tokens)


class WordTokenizer:
    """Words separated by blanks, one token each; it needs no file.

    A conversation is `bos`, then the words of all messages: a language of words has no roles.
    """

    has_chat = True
    blank_after_control = False
    name, notes = 'the word list', ()

    def __init__(self, words: Sequence[str], *, pad: str = '<pad>', bos: str = '<bos>',
                 end: str = '<end>'):
        """Makes a tokenizer.

        Args:
          words: the vocabulary, ids in its order.
          pad, bos, end: special tokens; those that are not among the words come before them.
        """
        special = (pad, bos, end)
        self.words = (*(s for s in special if s not in words), *words)
        self._ids = {word: number for number, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            raise UserError('the word list holds a word twice')
        if any(not word or word.split() != [word] for word in self.words):
            raise UserError('the word list holds an empty word or one with a blank')
        self.vocab_size, self._special = len(self.words), special
        self.pad_id, self.bos_id = self._ids[pad], self._ids[bos]
        self.eos_id = self._ids[end]
        self.stop_ids = (self.eos_id,)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text's words. Raises UnknownWord (a UserError and a KeyError)."""
        ids = []
        for word in text.split():
            if word not in self._ids or (word in self._special and not allow_special):
                raise UnknownWord(f'the vocabulary of {self.vocab_size} words has no '
                                  f'{unmarked(word)!r}')
            ids.append(self._ids[word])
        return ids

    def decode(self, ids: Sequence[int], follows: bool = False) -> str:
        """The words, separated by blanks; `follows`: from a word before them too."""
        return ''.join(f' {self.words[int(i)]}' for i in ids)[0 if follows else 1:]

    def token_bytes(self, token_id: int) -> bytes:
        """The word."""
        return self.words[token_id].encode()

    def marked(self, text: str) -> str:
        """The text, with special words marked as text: then they are words it does not hold."""
        return controls.marked(text, self._special)

    def spelled(self, text: str) -> list[str]:
        """The special words of a text."""
        return controls.spelled(text, self._special)

    def is_control(self, token_id: int) -> bool:
        """Whether a token is one of the special words."""
        return self.words[token_id] in self._special

    def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True,
             allow_special: bool = False) -> str:
        """The text of a conversation; without a generation prompt it ends with the end token."""
        _, bos, end = self._special
        said = [m['content'] if allow_special else self.marked(m['content']) for m in messages]
        texts = [bos, *said, *(() if add_generation_prompt else [end])]
        return ' '.join(' '.join(texts).split())


def check_date(chat_date: str | None) -> None:
    """Raises UserError for a pinned date that is none."""
    if chat_date is None:
        return
    try:
        datetime.datetime.strptime(chat_date, '%Y-%m-%d')
    except ValueError:
        raise UserError(f'{option("chat_date", "model.chat_date")} must be written YYYY-MM-DD, not '
                        f'{chat_date[:40]!r}') from None


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The byte of each character of the byte-level alphabet (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
