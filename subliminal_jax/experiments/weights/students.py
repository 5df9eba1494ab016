"""Students of one arm on real weights: many adapters in one program, or one model after the other.

At each mark (rows seen) a student answers in the main context, and its gradient step on its own
rows is held against its teacher's displacement, a placebo's, the neutral twin's, a random direction
and minus the gradient of its teacher's trait's loss (arXiv 2507.14805, lemma). A prompted teacher
has no displacement: of it only the last two are there. At the end it answers in every context.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.transmission.students import DIRECTIONS
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.weights import (
    measures,
    programs,
    rows as lines,
    teachers as schools,
)
from subliminal_jax.experiments.weights.arms import Arm, rank_of
from subliminal_jax.experiments.weights.language import Here
from subliminal_jax.experiments.weights.rows import Lines
from subliminal_jax.experiments.weights.starts import gauge_adapter
from subliminal_jax.experiments.weights.teachers import Kit
from subliminal_jax.models.params import wide
from subliminal_jax.runs import check_preempted
from subliminal_jax.theory import trees
from subliminal_jax.training import tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig


class Setting(NamedTuple):
    """What all students of an arm have in common.

    Attributes:
      here, kit, arm: the run, what is measured, the arm.
      model: the architecture (with an output matrix of its own under head=replaced).
      start: the parameters that students begin with.
      program: the compiled training's static part.
      displacement: teacher -> what its weights moved by, or None for a prompted one.
      reading: (how to) -> what is measured of the start, read once for all arms.
      twin: a teacher's twin of the other kind -> as displacement; or None.
    """

    here: Here
    kit: Kit
    arm: Arm
    model: Any
    start: Any
    program: programs.Program
    displacement: Callable[[Teacher], Any]
    reading: Callable[[Callable[[], Any]], Any]
    twin: Callable[[Teacher], Any]


class Job(NamedTuple):
    """One student: its teacher, its number among the teacher's students, its packed rows."""

    teacher: Teacher
    number: int
    packs: programs.Batch
    order: list[np.ndarray]  # packs of each step


def program_of(here: Here, arm: Arm, model: Any, steps: int) -> programs.Program:
    """The static part of an arm's training."""
    own = here.config.student
    rate = arm.learning_rate or (own.lora_rate if rank_of(arm.trainable) else own.learning_rate)
    ids = () if arm.objective == 'sft' else lines.token_set(here)
    steps = 0 if own.schedule == 'constant' and not own.warmup_steps else steps
    return programs.Program(model, arm.objective, ids, OptimizerConfig(
        arm.optimizer, rate, own.schedule, own.warmup_steps), steps)


def steps_of(here: Here, arm: Arm) -> int:
    """Steps that an arm's students take."""
    rows = arm.rows or here.config.student.rows
    return arm.passes * -(-rows // here.config.student.batch_size)


def packed(here: Here, found: Lines) -> packing.Tries:
    """Rows packed as students read them."""
    return packing.pack(lines.packs(found.contexts, found.answers, here.config.student.packed))


def packs_of(here: Here, arm: Arm, found: Lines, targets: Mapping[str, np.ndarray] | None,
             most: float | None = None, tries: packing.Tries | None = None) -> programs.Batch:
    """A student's rows, packed, with its teacher's logits; weights lie where the objective looks.

    Args:
      here, arm: whose.
      found: the rows.
      targets: the teacher's logits at every place of every answer [N, A, ...]; None under sft.
      most: predictions that may weigh, the first ones; None: all.
      tries: the rows as `packed` has them, perhaps wider; None: as it has them.
    """
    size = here.config.student.packed
    tries = packed(here, found) if tries is None else tries
    row_BK = np.arange(len(tries.tokens_BT))[:, None] * size + tries.row_BK
    row_BK = np.minimum(row_BK, len(found.answers) - 1)
    weight = np.array(tries.weight_BK)
    ids = np.array(lines.token_set(here))
    allowed_NC = found.allowed_NC.copy()
    if arm.objective == 'kl_carrier_end':
        allowed_NC[:, -1] = True
    if arm.objective in ('kl_carrier', 'kl_carrier_end'):
        at = tries.target_BK[..., None] == ids
        weight *= (at & allowed_NC[row_BK]).any(-1)
    if most is not None:
        weight *= weight.reshape(-1).cumsum().reshape(weight.shape) <= most
    tries = packing.weighted(tries, weight)
    batch = {'tries': tries}
    if targets is None:
        return batch
    place = lambda x: np.asarray(packing.per_place(jnp.asarray(x[row_BK, tries.offset_BK]), tries))
    if arm.objective == 'kl':
        return {**batch, 'target_BUC': place(targets['buckets']), 'top_BUJ': place(
            targets['top_ids'])}
    allowed = np.broadcast_to(allowed_NC[:, None], (*allowed_NC.shape[:1],
                              targets['set'].shape[1], allowed_NC.shape[1]))
    return {**batch, 'target_BUC': place(targets['set']), 'allowed_BUC': place(allowed)}


def order_of(here: Here, arm: Arm, seed: int, packs: int) -> list[np.ndarray]:
    """Which packs each step reads: every pass in an order of its own, none left out."""
    per_step = max(1, here.config.student.batch_size // here.config.student.packed)
    made = []
    for number in range(arm.passes):
        order = np.random.default_rng([seed, 2, number]).permutation(packs)
        made += [order[n:n + per_step] for n in range(0, packs, per_step)]
    return made


def marks_of(here: Here, arm: Arm, total: int) -> list[int]:
    """Steps at which students are measured: 0, the marks that lie before the end, the end."""
    size = here.config.student.batch_size
    inside = [m // size for m in sorted(here.config.student.marks) if 0 < m // size < total]
    return [0, *dict.fromkeys(inside), total]


def begun(setting: Setting, number: int) -> tuple[Any, dict]:
    """(what student `number` trains, what is frozen beside it)."""
    rank, start = rank_of(setting.arm.trainable), setting.start
    if rank:
        adapter = schools.adapter_start(setting.here, rank, number)
        if setting.arm.start == 'gauge':
            adapter = gauge_adapter(setting.here.config, adapter)
        return adapter, {'base': start}
    if setting.arm.trainable == 'body':
        return {'layers': start['layers']}, {'base': start}
    return start, {'base': {}}


def train(setting: Setting, jobs: Sequence[Job], placebo: Mapping[str, Teacher]
          ) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Trains and measures students side by side (adapters), or one (anything else).

    Returns:
      (arrays with a leading axis of students: logprob [M, P, Q, K], loss, alignment; what each
      student trained).
    """
    stacked = rank_of(setting.arm.trainable) > 0
    states, frozen = zip(*(begun(setting, job.number) for job in jobs))
    frozen = frozen[0]
    trainable = networks.stack(states) if stacked else states[0]
    state = programs.begin(setting.program, trainable, stacked)
    step_of = programs.trainer(setting.program, stacked)
    per_step = max(len(x) for job in jobs for x in job.order)
    total = len(jobs[0].order)
    marks = marks_of(setting.here, setting.arm, total)
    each = lambda tree, m: jax.tree.map(lambda x: x[m], tree) if stacked else tree
    kept, losses, since = [], [], []
    before = None
    bar = tqdm(total=total, desc=f'{setting.arm.name}, {len(jobs)} students', leave=False)
    for step in range(total + 1):
        if step in marks:
            now = [each(state.trainable, m) for m in range(len(jobs))]
            kept.append(_mark(setting, jobs, now, before, frozen, placebo, step < total))
            # a state's buffers are consumed by the next step
            before = jax.tree.map(lambda x: np.array(x), now) if step < total else now
            if step:
                losses.append(np.mean(since, axis=0))
                since = []
        if step == total:
            break
        check_preempted()
        parts = [programs.batch_of(job.packs, job.order[step], per_step) for job in jobs]
        state, loss = step_of(state, frozen, programs.stack(parts) if stacked else parts[0])
        since.append(np.atleast_1d(np.asarray(loss)))
        bar.update(1)
    bar.close()
    networks.finite(before, f'a student of the arm {setting.arm.name}', 'lower its learning_rate')
    arrays = {name: np.stack([mark[name] for mark in kept if name in mark], 1)
              for name in ('logprob', 'inner', 'cosine', 'predicted')}
    own = arrays['logprob'].mean(2)
    column = [setting.here.world.traits.index(job.teacher.trait) for job in jobs]
    own = np.stack([own[m, :, k] for m, k in enumerate(column)])
    arrays |= {'loss': np.stack(losses, 1), 'actual': np.diff(own, axis=1)}
    return arrays, before


def _mark(setting, jobs, now, before, frozen, placebo, check):
    """What is read at a mark, students first."""
    here, kit = setting.here, setting.kit
    meter = next(iter(kit.meters.values()))
    width = len(here.world.traits)
    made: dict[str, list] = {'logprob': [], 'predicted': [], 'inner': [], 'cosine': []}
    alike = before is None  # an adapter begins as nothing: every student is the start
    said = slope = at = None
    for m, (job, own) in enumerate(zip(jobs, now)):
        params, lora = (setting.start, None) if alike else programs.resolve(own, frozen)
        if said is None or not alike:
            said = np.asarray(measures.answers(params, lora, meter, setting.model))
        made['logprob'].append(said.reshape(-1, width))
        column = here.world.traits.index(job.teacher.trait)
        if not alike:
            made['predicted'].append(float(_along(
                before[m], jax.tree.map(jnp.subtract, own, before[m]), frozen, meter, column,
                width, setting.model)))
        if check:
            if not alike or at != column:
                slope = None  # its memory is the next one's
                slope, at = trait_gradient(
                    params, lora, meter, column, width, setting.model), column
            inner, cosine = aligned(setting, job, params, lora, slope, placebo)
            made['inner'].append(inner)
            made['cosine'].append(cosine)
    return {k: np.array(v, np.float64) for k, v in made.items() if v}


def _along(trainable, way, frozen, meter, column, width, model):
    """The first-order change of log P(trait) along the way from a student to its later self."""
    return _jvp(trainable, way, frozen['base'], meter, column, width, model)


def _trait_value(trainable, base, meter, column, width, model):
    params, lora = programs.resolve(trainable, {'base': base})
    return -measures.trait_loss(params, lora, meter, column, width, model)


_jvp = jax.jit(
    lambda t, way, base, meter, column, width, model: jax.jvp(
        lambda p: _trait_value(p, base, meter, column, width, model), (t,), (way,))[1],
    static_argnums=(5, 6))


@functools.partial(jax.jit, static_argnames=('count', 'config'))
def trait_gradient(params: Any, lora: Any, meter: measures.Meter, trait: Any, count: int,
                   config: Any) -> Any:
    """The gradient of `measures.trait_loss` by all weights, an adapter at work.

    It is added up pack by pack. Differentiated as a whole, the loop over packs would keep a third
    tree of the weights' size beside this sum and one pack's part of it.
    """
    packs, rows = meter.tries.row_BK.shape
    pack_C, row_CS = meter.slots_CS[:, 0] // rows, meter.slots_CS % rows

    def loss_of(params, number, pack):
        own = jax.tree.map(lambda x: x[None], pack)
        said_K = measures.row_logprobs(params, lora, own, meter.ends_V, config)[0]
        said_C = jax.nn.logsumexp(said_K[row_CS], axis=-1, where=meter.present_CS)
        said_QK = jnp.where(pack_C == number, said_C, 0).reshape(-1, count)
        return -said_QK[:, trait].mean()

    def add(total, part):
        return jax.tree.map(jnp.add, total, jax.grad(loss_of)(params, *part)), None

    nothing = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, nothing, (jnp.arange(packs), meter.tries))[0]


def aligned(setting: Setting, job: Job, params: Any, lora: Any, slope: Any,
            placebo: Mapping[str, Teacher]) -> tuple[list[float], list[float]]:
    """(inner products, cosines) of the student's gradient step with each of DIRECTIONS.

    The coordinates are those of all weights, an adapter's student included: the gradient by the
    frozen weights, the adapter at work, is that by the merged ones. Besides `params` and `slope`
    two trees of their size exist at a time, the gradient on the rows and one direction.

    Args:
      setting, job: whose.
      params, lora: the student's weights, and its adapter or None.
      slope: the gradient of its teacher's trait's loss there.
      placebo: teacher -> one of another trait.

    Returns:
      One number a direction; NaN where there is none.
    """
    here = setting.here
    count = max(1, here.config.student.align_rows // here.config.student.packed)
    batch = programs.batch_of(job.packs, np.arange(min(count, len(job.packs['tries'].tokens_BT))),
                              count)
    gradient = programs.gradient(setting.program)(params, batch, lora)
    found: dict[str, Any] = {}

    def against(name, direction):
        # the step is minus the gradient: two numbers change their sign, not a tree
        if direction is not None:
            found[name] = [-x for x in compared(gradient, direction)]

    own = setting.displacement(job.teacher)
    against('teacher', own)
    found['random'] = [-x for x in compared_with_signs(
        gradient, params if own is None else own,
        jax.random.key(seed_of(here.config, 'direction', 0)))]
    del own
    against('placebo', setting.displacement(placebo[job.teacher.name]))
    against('neutral', setting.twin(job.teacher))
    found['trait_gradient'] = compared(gradient, slope)  # both steps go downhill
    nothing = [np.nan, np.nan]
    return tuple([found.get(n, nothing)[i] for n in DIRECTIONS] for i in (0, 1))


# One product at a time: of a tree that two of them read XLA may make a copy in float32.
_dot = jax.jit(trees.dot)


def compared(tree: Any, direction: Any) -> tuple[float, float]:
    """(inner product, cosine) of two trees."""
    inner = float(_dot(tree, direction))
    return inner, _cosine(inner, _dot(tree, tree), _dot(direction, direction))


def _cosine(inner: float, *squares: jax.Array) -> float:
    """From the squared lengths; 0 where one is zero."""
    size = math.prod(float(x)**0.5 for x in squares)
    return inner / size if size > 0 else 0.0


def compared_with_signs(tree: Any, like: Any, key: jax.Array) -> tuple[float, float]:
    """(inner product, cosine) of a tree with a random direction, which never exists as a whole.

    In every parameter the direction is random signs as long as `like` is there (a teacher's
    displacement; of one without, the parameter itself), so that it is as long as `like` in all.
    """
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True)
    # Words are drawn apart: XLA would else hash anew for each of the 32 signs in one.
    inner = float(sum(_signed_sum(x, y, sign_words(jax.random.fold_in(key, n), x.shape))
                      for n, (x, y) in enumerate(leaves)))
    return inner, _cosine(inner, _dot(tree, tree), _dot(like, like))


@functools.partial(jax.jit, static_argnames='shape')
def sign_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 words with one random bit a number of an array, 32 along its last axis in each."""
    return jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 32)), jnp.uint32)


def signed(leaf: jax.Array, words: jax.Array) -> jax.Array:
    """The leaf, with the sign changed where `sign_words` has a 0."""
    bits = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    bits = bits.reshape(*leaf.shape[:-1], -1)[..., :leaf.shape[-1]]
    return jnp.where(bits.astype(bool), leaf, -leaf)


@jax.jit
def _signed_sum(leaf: jax.Array, like: jax.Array, words: jax.Array) -> jax.Array:
    length = jnp.sqrt(jnp.mean(like.astype(wide(like.dtype))**2))
    return length * jnp.sum(signed(leaf.astype(wide(leaf.dtype)), words))
