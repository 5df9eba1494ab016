"""What arms would have said, made up: rises with a known effect, and entries of results.json."""

import numpy as np

from subliminal_jax.experiments.transmission import arms as tables, effects, results


def rises(run, kind, own, seed=0, noise=0.01):
    """y in which every teacher's own trait rises by `own` nats, and all traits by 0.3."""
    rng = np.random.default_rng([seed, int(100 * own)])
    return {t.name: {k: 0.3 + own * (k == t.trait) + noise * rng.standard_normal()
                     for k in run.world.traits} for t in run.roll(kind)}


def entry(run, arm, y, begun=1e-3, end=1e-4, floor=0.0):
    """What contrasts and verdict read of an arm."""
    found = effects.effect_of(run, y)
    made = {'name': arm.name, 'y': y, 'effect': found, 'kl_floor': floor, 'kl_start': begun,
            'kl_end': end, 'verdict': effects.verdict_of(run, found), 'distance': 0.1,
            'objective': arm.objective, 'teacher_kind': arm.teachers,
            'student_init': results.student_init(arm), 'fields': tables.changed_fields(arm),
            'drift': {'perplexity_ordinary_start': 5.0}}
    return {**made, 'is_control': results.is_control(made)}
