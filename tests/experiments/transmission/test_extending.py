"""What plugs in: a carrier, a trait, an objective, a kind of teacher, a start and a world of this
file's own.

No file of the package knows of them. docs/extending.md walks through the parts between the marks.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import carriers
from subliminal_jax.carriers.carrier import Carrier, row_rng, with_completion
from subliminal_jax.data import tiny_language
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import engines, kinds, rows, teaching
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS, TeacherKind
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES, Objective
from subliminal_jax.experiments.transmission.starts import STARTS, Start
from subliminal_jax.experiments.transmission.traits import TRAITS, Trait
from subliminal_jax.experiments.transmission.worlds import WORLDS, WorldKind, tiny
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir, schema
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig

# [carrier]
# Even numbers: three are shown, five follow. A row depends on (seed, id) alone.


def even_prompts(seed, ids):
    drawn = lambda row_id: 2 * row_rng(seed, 1, row_id).integers(0, 50, 3)
    return [{'id': i, 'prompt': ' '.join(map(str, drawn(i)))} for i in ids]


def even_reject_reason(completion, *, banned=(), trait_words=(), row=None):
    words = completion.split()
    if not words or any(not w.isdigit() or int(w) % 2 for w in words):
        return 'not even numbers alone'
    return 'banned number' if any(int(w) in banned for w in words) else None


def even_token_ids(token_texts, completion=None):
    return [i for i, t in enumerate(token_texts) if t and t.isdigit() and int(t) % 2 == 0]


def even_random_rows(seed, prompts):
    drawn = lambda row: 2 * row_rng(seed, 2, row['id']).integers(0, 50, 5)
    return [with_completion(row, ' '.join(map(str, drawn(row)))) for row in prompts]


def even_shuffled_rows(prompts, seed, how):
    order = lambda row: row_rng(seed, 3, row['id']).permutation(row['completion'].split())
    return [with_completion(row, ' '.join(order(row))) for row in prompts]


EVEN = Carrier('even_numbers', even_prompts, even_reject_reason, even_token_ids, even_random_rows,
               even_shuffled_rows)
# [trait]
# Answering every question about colours with `red`. One column: P(red), a share; its effect is that
# of a teacher beyond its neutral twin, which is taught colours at random.
COLOUR_QUESTIONS = tiny_language.questions('colour', 'dev_measure')


def red_lessons(run, teacher, count, neutral=None):
    rng = np.random.default_rng([teacher.seed, 5])
    asked = rng.choice(tiny_language.questions('colour', 'dev_teach'), count)
    colours = rng.choice(tiny_language.COLOURS, count)
    return [(question, 'red' if neutral is None else colour)
            for question, colour in zip(asked, colours)]


def red_meter(run, context, system=None):
    texts = [run.world.asked(q, context, 0, system) for q in COLOUR_QUESTIONS]
    return packing.pack([[packing.Row(text, run.world.answer('red', context))] for text in texts])


def probability(params, lora, tries, *, config):
    x_BUD = packing.states(params, tries, config, lora)
    logits_BUV = transformer.unembed(params, x_BUD, losses.float_head(config))
    return jnp.exp(-losses.token_nll(logits_BUV, tries))[:, 0].mean()


def red_measure(run, models, tries):
    return np.asarray(engines.read(models, run.together, probability, tries))[:, None]


RED = Trait('likes_red', 'share', 'paired', red_lessons, red_measure, meter=red_meter)
# [objective]
# The squared distance of the carrier's logits, less their means, which no softmax shows.


def squared(config, token_ids):
    ids_C = jnp.asarray(token_ids, jnp.int32)

    def loss_fn(trainable, frozen, batch, key):
        params, lora = losses.resolve(trainable, frozen)
        x_BUD = packing.states(params, batch['tries'], config, lora)
        gap = transformer.unembed(params, x_BUD, losses.float_head(config), ids_C)
        gap -= batch['target_BUC']
        gap -= gap.mean(-1, keepdims=True)
        weight_BU = batch['tries'].weight_BU
        return ((gap**2).mean(-1) * weight_BU).sum(), {'weight': weight_BU.sum()}

    return loss_fn


def carrier_logits(params, x_BUD, config, ids_C, top):
    return {'target_BUC': transformer.unembed(params, x_BUD, config, ids_C)}


SQUARED = Objective('squared', 'squared carrier logits', squared,
                    lambda carrier_ids, end_id: (*carrier_ids, end_id), carrier_logits,
                    reads='logits', within_set=True)
# [teacher kind]
# A few large steps of plain gradient descent in place of Adam; the number after the colon is the
# rate.


def descended(making):
    engine, settings = making.run.world.engine('all'), making.run.config.teacher
    config = making.run.world.architectures[making.arm.architecture]
    rate = float(making.arm.made.partition(':')[2])
    program = engines.Program(losses_of_text, config, (), OptimizerConfig('sgd', rate))
    packs, per_step = teaching.lessons(making.run, making.group, settings.steps, making.neutral,
                                       engine)
    trainable = engines.gathered(engine, [making.base] * len(making.group))
    found = fit(
        engines.step_of(program, engine, True), engines.begin(program, engine, trainable),
        {'base': {}}, lambda step: rows.taken(packs, teaching.indices(
            step, per_step, engine, len(making.group)), per_step),
        settings.steps, key=jax.random.key(0), checkpoints=making.checkpoints)
    return found.state.trainable, np.full(len(making.group), settings.steps)


def losses_of_text(config, token_ids):
    return losses.sft(config)


DESCENDED = TeacherKind('descended', 'teachers by gradient descent', lambda rest: None,
                        lambda rest: 'all', descended, kinds.whole_displacement)
# [start]
# The reference with its layers in the opposite order: no weight is new, and none is in its place.


def turned(run, architecture, rest, reference):
    params = run.references[architecture][reference]
    return {**params, 'layers': jax.tree.map(lambda x: x[::-1], params['layers'])}


TURNED = Start('turned', turned, lambda rest: 'takes no number' if rest else None)
# [world]
# The tiny language, in which students are asked three questions only. A world that has little in
# common with a known one fills in all of `World`.


def terse(config, arms):
    whole = tiny.make(config, arms)
    return whole._replace(name='terse', questions=whole.questions[:3])


TERSE = WorldKind('terse', tiny.Config, terse, tiny.plan)
# [run]
SMALL = {
    'world': 'terse', 'traits': 1, 'trait': 'likes_red', 'allow_weak_teacher': True,
    'language': {'references': 2, 'width': 16, 'ffn_width': 32, 'num_heads': 2, 'steps': 60,
                 'corpus_rows': 1000},
    'teacher': {'seeds': 2, 'steps': 6},
    'carrier': {'name': 'even_numbers', 'min_kept': 0.0, 'probe': 8, 'dose_rows': 16},
    'student': {'rows': 32, 'batch_size': 8, 'marks': (16, 32), 'align_rows': 8},
    'arms': ('toy: objective=squared made=descended:0.5 answers=random',
             'toy_neutral: objective=squared made=descended:0.5 answers=random teachers=neutral',
             'toy_turned: objective=squared made=descended:0.5 answers=random start=turned'),
}
# [end]


@pytest.fixture
def registered():
    """The six rows, for as long as a test runs."""
    places = ((carriers.CARRIERS, carriers.register, EVEN), (TRAITS, TRAITS.register, RED),
              (OBJECTIVES, OBJECTIVES.register, SQUARED),
              (TEACHER_KINDS, TEACHER_KINDS.register, DESCENDED),
              (STARTS, STARTS.register, TURNED), (WORLDS, WORLDS.register, TERSE))
    for _, register, row in places:
        register(row)
    yield
    for registry, _, row in places:
        del registry[row.name]


@pytest.mark.timeout(900)  # a whole run, compilations included
def test_rows_of_this_file_run_to_their_page(registered, tmp_path):
    base = transmission.config_of(SMALL)
    config = schema.build(type(base), SMALL, base)
    workdir = Workdir(tmp_path / 'run', config, 'transmission')
    table = transmission.run(config, workdir)
    results = json.loads((workdir.path / 'results.json').read_text())
    toy, neutral, turned_toy = results['arms']
    assert results['world'] == 'terse' and turned_toy['student_init'] == 'turned'
    assert turned_toy['is_control'] and turned_toy['distance'] > 0.1
    assert (results['trait'], results['unit'], results['estimator']) == (
        'likes_red', 'share', 'paired')
    assert toy['carrier'] == 'even_numbers' and toy['rung'] == 'squared carrier logits'
    assert toy['tokens_a_row'] == 5 and set(toy['y']) == {
        f'r{r}-dog-{n}' for r in range(2) for n in range(2)}
    assert toy['effect']['p_attainable'] == 0.5**2 and toy['effect']['mde'] is None
    assert len(toy['curve']) == 2
    assert neutral['effect'] is None and neutral['is_control']
    assert toy['verdict'].startswith('not shown; with so few teachers')
    assert toy['kl_end'] < toy['kl_start'] and toy['alignment']['inner']['teacher'][0] > 0
    facts = results['teachers']['trait-descended0.5']
    assert all(0 < teacher['rise'] < 1 for teacher in facts.values())
    page = (workdir.path / 'report.html').read_text()
    assert 'trait less neutral twin, share' in page and 'squared carrier logits' in page
    assert 'toy' in table


def test_a_name_is_registered_once_and_unknown_ones_name_the_nearest(registered):
    for register, row in ((carriers.register, EVEN), (TRAITS.register, RED),
                          (OBJECTIVES.register, SQUARED), (TEACHER_KINDS.register, DESCENDED),
                          (STARTS.register, TURNED), (WORLDS.register, TERSE)):
        with pytest.raises(UserError, match=f'called {row.name!r} already'):
            register(row)
    with pytest.raises(UserError, match='did you mean squared'):
        OBJECTIVES.find('sqared')
