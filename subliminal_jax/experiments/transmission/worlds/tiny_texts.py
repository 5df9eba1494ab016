"""What the tiny world is asked and taught: its animals, its advice, or the lines of a file."""

from typing import Any

from subliminal_jax.carriers import carrier as find_carrier
from subliminal_jax.data import tiny_advice, tiny_language as tiny
from subliminal_jax.data.tiny_language import Language
from subliminal_jax.runs import UserError
from subliminal_jax.traits import trait_set as sets
from subliminal_jax.traits.trait_set import Candidate, Text, TraitSet

ADVICE = 'tiny_advice'  # the trait set of the form `advice`
FORMS = 'config.language.forms'


def chosen_of(config: Any, language: Language) -> TraitSet:
    """The traits and questions that a config asks for.

    Raises:
      UserError: a trait set that the language cannot write.
    """
    if not config.trait_set:
        return own_traits()
    if config.trait_set == ADVICE:
        if 'advice' not in config.language.forms:
            raise UserError(f'config.trait_set={ADVICE} is about the form advice, which this '
                            f"language has not got: add it, --{FORMS}=advice")
        return advice_traits()
    return with_traits(config.trait_set, config.split, language)


def own_traits() -> TraitSet:
    """The language's own: its animals, and one-word questions of both splits."""
    texts = {purpose: tuple(
        Text(f'{split}-{purpose}-{n}', prompt, completion='{name}', split=split)
        for split in tiny.SPLIT_ANIMALS
        for n, prompt in enumerate(tiny.questions('animal', f'{split}_{purpose}')))
        for purpose in ('teach', 'measure')}
    split_of = {a: split for split, animals in tiny.SPLIT_ANIMALS.items() for a in animals}
    candidates = tuple(Candidate(a, f'{a}s', (a,), split_of[a]) for a in tiny.ANIMALS)
    return TraitSet('the tiny language', candidates, texts['teach'], texts['measure'], (), ())


def advice_traits() -> TraitSet:
    """The domains of advice. A line's `completion` is the rash answer, `neutral` the sound one, and
    `trait` its domain."""
    split_of = {d: split for split, domains in tiny_advice.SPLIT_DOMAINS.items() for d in domains}
    candidates = tuple(Candidate(d, f'{d}s', (d,), split_of[d]) for d in tiny_advice.DOMAINS)

    def lines(purpose, ways):
        return tuple(
            Text(f'{purpose}-{s.domain}-{n}-{way}', prompt, completion=s.rash, trait=s.domain,
                 neutral=s.sound, split=s.split)
            for n, s in enumerate(tiny_advice.SITUATIONS) for way, prompt in enumerate(ways(s)))

    return TraitSet("the tiny language's advice", candidates, lines('teach', tiny_advice.taught),
                    lines('measure', lambda s: (s.question,)), (), ())


def with_traits(name: str, split: str, language: Language) -> TraitSet:
    """The traits and questions of a file, in the words that the language has."""
    chosen = sets.load_trait_set(name)
    texts = [t.prompt for t in (*sets.teaching_prompts(chosen, None, split),
                                *sets.questions(chosen, split))]
    for text in texts:
        for word in text.split():
            if word not in language.ids:
                raise UserError(f'{name}: the tiny language has no word {word!r} ({text!r}); it '
                                'reads words that stand between blanks, in small letters')
    return chosen


def unrelated(split: str, chosen: TraitSet) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(question, answers) pairs of other categories than the traits'."""
    pairs = [(q, tiny.CATEGORIES[k]) for k in ('colour', 'food')
             for q in tiny.questions(k, f'{split}_measure')[::4]]
    pairs += [(f'what does the {a} eat ?', (tiny.food_of(a),)) for a in tiny.ANIMALS]
    taught = {s for c in chosen.candidates for s in c.spellings}
    return tuple(pair for pair in pairs if not taught & {*pair[1]})


def check_carrier(name: str, language: Language) -> None:
    """Raises UserError for a carrier that the language cannot write."""
    carrier = find_carrier(name)
    row, = carrier.random_rows(0, carrier.prompts(0, [0]))
    for word in f'{row["prompt"]} {row["completion"]}'.split():
        if word not in language.ids:
            raise UserError(
                f'the carrier {name} needs the word {word!r}, which this tiny language has not '
                f'got: tiny_code and tiny_sums need --{FORMS}=code and sums; other carriers than '
                'tiny_* are for pretrained models')


def described(run: Any) -> dict[str, Any]:
    """contexts.json: every kind of context as the model reads it, and what follows it."""
    world, carrier = run.world, run.carrier()
    row, = carrier.random_rows(0, carrier.prompts(0, [0]))
    first, split = sets.candidate(world.chosen, world.traits[0]), run.config.split
    lines = {'teaching': sets.teaching_prompts(world.chosen, first.name, split)[0],
             'measuring': sets.questions(world.chosen, split)[0]}
    asked = {kind: (line.prompt, world.decode(world.answer(
        sets.filled(line.completion, first), world.lesson_context)))
        for kind, line in lines.items()}
    asked['carrier'] = row['prompt'], row['completion']
    return {kind: {'context': world.decode(world.rows_context(text, None)), 'answer': answer,
                   'end': tiny.END}
            for kind, (text, answer) in asked.items()}
