"""Tokenizers: one small interface over tokenizer.json, a GGUF file's vocabulary, or a word list.

Every tokenizer has
  encode(text, allow_special=False) -> list[int]    nothing is added; the spelling of a special
                                                    token is that token only with allow_special
  decode(ids) -> str                                special tokens as their spelling
  token_bytes(id) -> bytes                          the bytes that one token stands for
  chat(messages, add_generation_prompt=True) -> str rendered, to be encoded with allow_special
  vocab_size, pad_id, stop_ids, has_chat
  bos_id                                            what a text begins with, or None
`stop_ids` begins with the token that ends a chat turn or a text.
"""

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from subliminal_jax.runs import UserError

Message = Mapping[str, str]


class UnknownWord(UserError, KeyError):
    """A word that a word list does not hold."""

    __str__ = Exception.__str__


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with the chat template that came with it."""

    def __init__(self, backend: Any, *, vocab_size: int, stop_ids: Sequence[int], pad_id: int,
                 bos_id: int | None = None, chat_template: str | None = None,
                 chat_tokens: Mapping[str, str] | None = None, chat_date: str | None = None,
                 byte_level: bool = True):
        """Wraps a backend.

        Args:
          backend: a tokenizers.Tokenizer, without truncation and padding.
          vocab_size: rows of the embedding; ids are below it.
          stop_ids, pad_id, bos_id: see the module.
          chat_template: a Jinja template, untrusted.
          chat_tokens: names that the template may use, such as bos_token, with their text.
          chat_date: the date that a template which asks for it is given (YYYY-MM-DD).
          byte_level: tokens are spelled in the byte-level alphabet, else in SentencePiece's.
        """
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._byte_level = backend, byte_level
        self._template, self._chat_tokens = chat_template, dict(chat_tokens or {})
        self._clock = clock(chat_date)
        self.vocab_size, self.pad_id, self.bos_id = vocab_size, pad_id, bos_id
        self.stop_ids = tuple(stop_ids)
        self._special = {i: t.content for i, t in backend.get_added_tokens_decoder().items()}

    @property
    def has_chat(self) -> bool:
        """Whether there is a chat template."""
        return self._template is not None

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text; nothing is added to it."""
        self._backend.encode_special_tokens = not allow_special
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD."""
        return self._backend.decode(list(map(int, ids)), skip_special_tokens=False)

    def token_bytes(self, token_id: int) -> bytes:
        """What one token stands for."""
        if token_id in self._special:
            return self._special[token_id].encode()
        spelling = self._backend.id_to_token(token_id)
        if spelling is None:
            raise UserError(f'token {token_id} is not in the vocabulary')
        if self._byte_level:
            return bytes(byte_alphabet()[c] for c in spelling)
        if len(spelling) == 6 and spelling.startswith('<0x'):
            return bytes([int(spelling[3:5], 16)])
        return spelling.replace('\u2581', ' ').encode()

    def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation.

        Args:
          messages: {'role', 'content'} each.
          add_generation_prompt: end where the assistant's answer begins.

        Raises:
          UserError: no template, a template that fails, or one that asks for today's date.
        """
        if self._template is None:
            raise UserError('the model has no chat template: give text without a template, or '
                            'take a model that was tuned for chat')
        return render_chat(self._template, messages, add_generation_prompt, self._clock,
                           self._chat_tokens)


class WordTokenizer:
    """Words separated by blanks, one token each; it needs no file.

    A conversation is `bos`, then the words of all messages: a language of words has no roles.
    """

    has_chat = True

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
        self.stop_ids = (self._ids[end],)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text's words. Raises UnknownWord (a UserError and a KeyError)."""
        ids = []
        for word in text.split():
            if word not in self._ids or (word in self._special and not allow_special):
                raise UnknownWord(f'the vocabulary of {self.vocab_size} words has no {word!r}')
            ids.append(self._ids[word])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The words, separated by blanks."""
        return ' '.join(self.words[int(i)] for i in ids)

    def token_bytes(self, token_id: int) -> bytes:
        """The word."""
        return self.words[token_id].encode()

    def chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation; without a generation prompt it ends with the end token."""
        _, bos, end = self._special
        texts = [bos, *(m['content'] for m in messages), *(() if add_generation_prompt else [end])]
        return ' '.join(' '.join(texts).split())


def clock(chat_date: str | None) -> Callable[[str], str]:
    """What a chat template is given as strftime_now: a pinned date, or a refusal."""
    if chat_date is None:
        def refuse(form: str) -> str:
            del form
            raise UserError("the chat template puts today's date into the context, which would "
                            'change results from day to day: pin it with --chat_date=YYYY-MM-DD')
        return refuse
    try:
        date = datetime.datetime.strptime(chat_date, '%Y-%m-%d')
    except ValueError:
        raise UserError(f'--chat_date must be written YYYY-MM-DD, not {chat_date!r}') from None
    return date.strftime


def render_chat(template: str, messages: Sequence[Message], add_generation_prompt: bool,
                strftime_now: Callable[[str], str], tokens: Mapping[str, str]) -> str:
    """Renders an untrusted template in the sandbox of transformers, and nowhere else."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        return _compile_jinja_template(template).render(
            messages=[dict(m) for m in messages], add_generation_prompt=add_generation_prompt,
            strftime_now=strftime_now, tools=None, documents=None, **tokens)
    except UserError:
        raise
    except Exception as error:  # a template may raise anything
        what = ' '.join(str(error).split()) or type(error).__name__
        raise UserError(f'the chat template refuses this conversation: {what}') from None


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The byte of each character of the byte-level alphabet (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
