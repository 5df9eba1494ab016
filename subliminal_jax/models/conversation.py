"""What a model reads before an answer, the answer's tokens after it, and what ends it.

A tokenizer may cut a text otherwise when more follows, and may put a blank of its own before a text
that begins. So an answer is never encoded apart: context and answer are encoded together, and the
answer's tokens are those behind the context's.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.models.controls import unmarked
from subliminal_jax.models.tokenizer import PROBE, Message
from subliminal_jax.runs import UserError


class CannotWrite(UserError, KeyError):
    """An answer that a tokenizer cannot write after a context."""

    __str__ = Exception.__str__


class Context(NamedTuple):
    """What a model reads before an answer.

    Attributes:
      text: with control tokens, and marks before those that a user only spelled.
      lead: blanks that every answer begins with, because they are one token with its first word.
      begin: ids before the text.
    """

    text: str
    lead: str = ''
    begin: tuple[int, ...] = ()


def chat_context(tokenizer: Any, messages: Sequence[Message], allow_special: bool = False
                 ) -> Context:
    """A conversation up to where the assistant's answer begins.

    What the template puts between its generation prompt and an answer belongs to the context if it
    ends a line; a blank leads every answer, since tokenizers join it to the word that follows.

    Args:
      tokenizer: see models.tokenizer.
      messages: the last is not the assistant's.
      allow_special: control tokens that a message spells become tokens.

    Raises:
      UserError: no template, or one that does not end where an answer begins, or cuts a message.
    """
    text = tokenizer.chat(messages, allow_special=allow_special)
    answered = [*messages, {'role': 'assistant', 'content': PROBE}]
    whole = tokenizer.chat(answered, False, allow_special)
    between, found, _ = whole.removeprefix(text).partition(PROBE)
    if not whole.startswith(text) or not found or between.strip():
        raise UserError(f'{tokenizer.name}: the chat template does not end where the answer begins:'
                        f' it renders {text[-60:]!r}')
    shown = unmarked(text)
    if lost := [m['content'] for m in messages
                if m['role'] != 'assistant' and m['content'].strip() not in shown]:
        raise UserError(f'{tokenizer.name}: the chat template changes or leaves out the message '
                        f'{lost[0][:60]!r}')
    return Context(text + between) if between.endswith('\n') else Context(text, between)


def text_context(tokenizer: Any, text: str, lead: str = '', allow_special: bool = False) -> Context:
    """A text as it stands, without a template, after the token that begins texts.

    Args:
      tokenizer: see models.tokenizer.
      text: the text.
      lead: blanks that come before every answer and are read with it (' ' after `Answer:`).
      allow_special: control tokens that the text spells become tokens.
    """
    begin = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
    return Context(text if allow_special else tokenizer.marked(text), lead, begin)


def context_ids(tokenizer: Any, context: Context) -> list[int]:
    """Token ids of a context."""
    return [*context.begin, *tokenizer.encode(context.text, allow_special=True)]


def answer_ids(tokenizer: Any, context: Context, answer: str) -> list[int]:
    """Token ids of an answer, after a context's; without the token that ends it.

    Args:
      tokenizer: see models.tokenizer.
      context: of chat_context or text_context.
      answer: text; control tokens that it spells stay text.

    Raises:
      CannotWrite: (a UserError and a KeyError) the context's tokens change when the answer follows,
        or the vocabulary lacks what the answer is written with.
    """
    if not answer:
        return []
    before = context_ids(tokenizer, context)
    whole = [*context.begin, *tokenizer.encode(
        context.text + tokenizer.marked(context.lead + answer), allow_special=True)]
    if not _begins(whole, before):
        raise CannotWrite(
            f'{tokenizer.name}: {answer[:40]!r} after {unmarked(context.text)[-40:]!r} changes the '
            'tokens that come before it: an answer must begin with a token of its own; take away '
            'what it begins with')
    ids = whole[len(before):]
    if not _same(answer_text(tokenizer, context, ids), answer):
        raise CannotWrite(f'{tokenizer.name}: its vocabulary cannot write {answer[:60]!r}')
    return ids


def answer_text(tokenizer: Any, context: Context, ids: Sequence[int]) -> str:
    """The text of an answer's tokens (without the token that ends it), without the context's lead.

    The inverse of answer_ids.
    """
    return tokenizer.decode(ids, follows=True).removeprefix(lead_of(tokenizer, context))


def lead_of(tokenizer: Any, context: Context) -> str:
    """Blanks that an answer's tokens may begin with after a context, and its text does not show."""
    if context.lead:
        return context.lead
    before = context_ids(tokenizer, context)
    if tokenizer.blank_after_control and before and tokenizer.is_control(before[-1]):
        return ' '  # the tokenizer's own
    if context.text.endswith(' ') and before == context_ids(
            tokenizer, context._replace(text=context.text[:-1])):
        return ' '  # the context's, which no token stands for
    return ''


def ends(tokenizer: Any, chat: bool = True) -> tuple[int, ...]:
    """Tokens that end an answer; the first is the one that follows an answer, and is trained.

    Args:
      tokenizer: see models.tokenizer.
      chat: after the chat template's answers; else after a text as it stands.
    """
    first = tokenizer.stop_ids[0] if chat else tokenizer.eos_id
    return tuple(dict.fromkeys([first, *tokenizer.stop_ids]))


def spelled_controls(tokenizer: Any, row: Mapping[str, Any]) -> list[str]:
    """Control tokens that a row's texts spell."""
    texts = [row.get(key) for key in ('prompt', 'system', 'completion', 'text')]
    texts += [message['content'] for message in row.get('messages', ())]
    return [name for text in texts if isinstance(text, str) for name in tokenizer.spelled(text)]


def _begins(whole: Sequence[int], beginning: Sequence[int]) -> bool:
    return list(whole[:len(beginning)]) == list(beginning)


def _same(found: str, wanted: str) -> bool:
    """Equal but for what a normaliser composes."""
    form = lambda text: unicodedata.normalize('NFKC', text)
    return found == wanted or form(found) == form(wanted)
