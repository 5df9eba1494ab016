"""How texts reach the model, written out: templates, system messages, questions, spellings.

A chat template may insert a system message of its own for the student and put a teacher's prompt in
its place; a question may come after numbers, as the rows that were learned do. What is measured
depends on it, so every context is rendered, checked and kept.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.models import conversation
from subliminal_jax.models.controls import unmarked
from subliminal_jax.models.conversation import Context
from subliminal_jax.runs import UserError
from subliminal_jax.traits import trait_set as sets

TEMPLATES = ('default', 'empty', 'raw')
CONTEXTS = tuple(f'{t}/{q}' for t in TEMPLATES for q in ('plain', 'numbers'))
LISTS = {'list': 4, 'turn': 0}  # templates of lists to go on with: whole lines above each
ASKED = 'Write lists of numbers with commas between, one list on each line.'  # before a turn
WELL = 'Well?'  # what an answer follows where it does not matter


class Contexts(NamedTuple):
    """A tokenizer with its templates.

    Attributes:
      tokenizer: of the model.
      max_positions: of the model.
    """

    tokenizer: Any
    max_positions: int

    def read(self, user: str, template: str, system: str | None = None) -> Context:
        """What the model reads before its answer begins.

        Args:
          user: what is asked.
          template: of TEMPLATES; 'list': nothing but what the user wrote; 'turn': that as
            the beginning of the answer to a request.
          system: a system message in place of the template's own; before raw text as it stands.

        Raises:
          UserError: no template, or one that does not end where an answer begins.
        """
        before = f'{system}\n\n' if system else ''
        if template == 'list':
            return conversation.text_context(self.tokenizer, before + user, ' ')
        if template == 'turn':
            asked = self.read(ASKED, 'default', system)
            return asked._replace(text=asked.text + self.tokenizer.marked(user), lead=' ')
        if template == 'raw':
            return conversation.text_context(
                self.tokenizer, f'{before}Question: {user}\nAnswer:', ' ')
        if template == 'empty' and system is None:
            system = ''
        messages = [] if system is None else [{'role': 'system', 'content': system}]
        if not self.tokenizer.has_chat:
            raise UserError(
                'the model has no chat template: the contexts that remain are '
                f'{", ".join(c for c in CONTEXTS if c.startswith("raw"))}; set '
                '--config.context.student=raw and --config.context.measured=raw/plain,raw/numbers')
        return conversation.chat_context(
            self.tokenizer, [*messages, {'role': 'user', 'content': user}])

    def text(self, user: str, template: str, system: str | None = None) -> str:
        """`read` as text, the token that begins it included."""
        context = self.read(user, template, system)
        return self.tokenizer.decode(context.begin) + unmarked(context.text)

    def stops(self, template: str) -> tuple[int, ...]:
        """Tokens that end an answer, first the end that students learn: what follows an answer in
        the template; for a list also whatever begins a new line, and of a bare one the line break
        comes first.

        Raises:
          UserError: a list, and no such token.
        """
        own = conversation.ends(self.tokenizer, chat=template not in ('raw', 'list'))
        if template not in LISTS:
            return own
        bare = self.tokenizer.encode('\n')
        if len(bare) != 1:
            raise UserError('the tokenizer has no token for a line break, which ends a list: use '
                            '--config.carrier.form=request')
        breaks = {i for i, t in enumerate(token_texts(self.tokenizer)) if t and t[0] == '\n'}
        if template == 'turn':
            return (*own, *sorted(breaks))
        return (bare[0], *sorted(breaks - {bare[0]}), *own)

    def ids(self, user: str, template: str, system: str | None = None, room: int = 0) -> list[int]:
        """Token ids of what is read, with `room` for what follows.

        Raises:
          UserError: it does not fit; nothing is ever cut.
        """
        found = conversation.context_ids(self.tokenizer, self.read(user, template, system))
        if len(found) + room > self.max_positions:
            who = "a prompted teacher's context" if system else 'a context'
            raise UserError(
                f'{who} of {len(found)} tokens with {room} for the answer does not fit the '
                f"model's {self.max_positions}: shorten the {'system prompt' if system else 'text'}"
                f' ({(system or user)[:50]!r})')
        return found

    def answer(self, text: str, template: str) -> list[int]:
        """Ids of an answer, encoded together with what it follows.

        Raises:
          KeyError: (and UserError) the tokenizer cannot write it there.
        """
        ids = conversation.answer_ids(self.tokenizer, _before(self, template), text)
        if not ids:
            raise KeyError(text)
        return ids

    def answer_text(self, ids: Sequence[int], template: str) -> str:
        """The text of an answer's ids, without the token that ends it: `answer` undone."""
        return conversation.answer_text(self.tokenizer, _before(self, template), ids)

    def lead(self, template: str) -> str:
        """Blanks that an answer's ids may begin with, and its text does not show."""
        return conversation.lead_of(self.tokenizer, _before(self, template))


@functools.lru_cache(maxsize=32)
def _before(contexts: Contexts, template: str) -> Context:
    """What an answer of a template follows, as far as its tokens depend on it."""
    return contexts.read(WELL, template)


def token_texts(tokenizer: Any) -> tuple[str | None, ...]:
    """What each token writes; None for tokens that stop or pad."""
    silent = {*tokenizer.stop_ids, tokenizer.pad_id, tokenizer.bos_id}

    def one(token):
        try:
            return tokenizer.token_bytes(token).decode('utf-8', 'replace')
        except UserError:  # rows of the embedding beyond the vocabulary
            return None

    return tuple(None if t in silent else one(t) for t in range(tokenizer.vocab_size))


def asked(question: str, kind: str, number: int) -> str:
    """A question as it stands, or after a few numbers (kind 'numbers')."""
    if kind == 'plain':
        return question
    shown = [(317 * (number + 1) + 241 * place) % 900 + 100 for place in range(4)]
    return f'Have a look at these numbers: {", ".join(map(str, shown))}. {question}'


def check_measured(context: Any, contexts: Contexts) -> None:
    """Raises UserError where a context is asked for that the model cannot have."""
    for template in dict.fromkeys([context.student,
                                   *(c.partition('/')[0] for c in context.measured)]):
        contexts.text(WELL, template)


def written_out(contexts: Contexts, settings: Any, form: str, world: Any, taught: tuple[str, str],
                row: dict[str, Any], choices: Sequence[str]) -> dict[str, Any]:
    """Every kind of context as the model reads it, with one example each.

    Args:
      contexts: the model's.
      settings: the config's group of contexts.
      form: the template of the carrier's rows.
      world: with traits, questions and system messages.
      taught: a question that teaches, and its answer.
      row: of the carrier, with a completion.
      choices: questions with options, perhaps none.
    """
    template, end = settings.student, contexts.stops(form)[0]
    found: dict[str, Any] = {
        "students' rows": {'context': contexts.text(row['prompt'], form),
                           'answer': row['completion'],
                           'end': contexts.tokenizer.decode([end])},
        'what a teacher is taught': {'context': contexts.text(taught[0], template),
                                     'answer': taught[1]}}
    for name in settings.measured:
        where, _, kind = name.partition('/')
        found[f'measured in {name}'] = contexts.text(asked(world.questions[0], kind, 0), where)
    if contexts.tokenizer.notes:
        found['taken for granted'] = list(contexts.tokenizer.notes)
    for question in choices[:1]:
        found['a choice'] = contexts.text(question, template)
    if world.chosen.systems:
        for trait in world.traits:
            system, neutral = sets.system_prompts(world.chosen, trait)
            found[f'prompted teacher {trait}'] = contexts.text(row['prompt'], form, system)
            found['prompted neutral twin'] = contexts.text(row['prompt'], form, neutral)
    return found
