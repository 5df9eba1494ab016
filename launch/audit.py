r"""Audits rows: do they pass a trait on to students of a reference?

  python -m launch.audit --reference=SPEC --rows=rows.jsonl --workdir=DIR \
    [--teacher=SPEC] [--questions=mine.jsonl] [--neutral=rows2.jsonl] [--other=SPEC] \
    [--carrier=numbers] [--columns=prompt=question] [--most_rows=1024] [--dry_run] \
    [--metrics=tensorboard] [--config.FIELD=value ...]

SPEC: package:NAME, hf:OWNER/NAME, a folder, or a .gguf file. Rows in any shape that launch.filter
reads. DIR then holds report.html, which opens with one of four verdicts: the rows transmit X; they
hold X, but students of this size do not show it; nothing seen, and what would have been seen; this
audit cannot tell, and why. The same command goes on where it was stopped; --dry_run says what it
would cost. docs/auditing.md says how it works, and what a clean result does not mean.

--questions is a trait set (traits/trait_set.py): lines of kind candidate and question; by default
the package's animals. --teacher is the model that wrote the rows, where there is one; --neutral are
rows of a writer without the trait, in place of the reference's own answers; --other is a model of
other weights, whose students are a control. --carrier names the filter that rows go through.
--metrics=tensorboard,wandb,mlflow copies metrics.jsonl for these programs into DIR, as launch.run
does. --config.FIELD sets any field of the experiment `audit` (launch.run --print_config).
"""

from absl import flags

from launch.start import start
from subliminal_jax.runs import UserError, run_program

REFERENCE = flags.DEFINE_string('reference', 'package:smollm2-135m-instruct',
                                'the model that students begin with')
ROWS = flags.DEFINE_string('rows', None, 'the rows to be audited')
WORKDIR = flags.DEFINE_string('workdir', None, 'the folder of this audit')
TEACHER = flags.DEFINE_string('teacher', '', 'who wrote the rows')
QUESTIONS = flags.DEFINE_string('questions', 'animals', 'candidates and questions')
NEUTRAL = flags.DEFINE_list('neutral', [], 'rows of writers without the trait')
OTHER = flags.DEFINE_string('other', '', 'a model of other weights')
CARRIER = flags.DEFINE_string('carrier', '', 'whose filter rows go through; empty: none')
COLUMNS = flags.DEFINE_list('columns', [], 'what the rows call our fields: prompt=question ...')
MOST_ROWS = flags.DEFINE_integer('most_rows', 1024, 'of the rows, drawn at random', lower_bound=1)
DRY_RUN = flags.DEFINE_bool('dry_run', False, 'print what it would cost, and stop')
METRICS = flags.DEFINE_list(
    'metrics', [], 'also write the metrics for these, joined by commas: tensorboard, wandb, mlflow')


def values() -> dict:
    """The config that the flags make."""
    if not ROWS.value:
        raise UserError('no rows to audit: pass --rows=FILE')
    return {
        'experiment': 'audit', 'world': 'pretrained', 'trait_set': QUESTIONS.value,
        'model': {'name': REFERENCE.value}, 'context': {'measured': ('default/plain',)},
        'carrier': {'name': CARRIER.value, 'new_tokens': 128, 'banned': ()},
        'audit': {'rows': ROWS.value, 'teacher': TEACHER.value, 'neutral': tuple(NEUTRAL.value),
                  'other': OTHER.value, 'columns': tuple(COLUMNS.value),
                  'most_rows': MOST_ROWS.value}}


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import config as configs, sinks

    sinks.check(METRICS.value)
    loaded = configs.of_values(values(), config_arguments, EXPERIMENTS)
    loaded.experiment.check(loaded.config)
    start(loaded, WORKDIR.value, DRY_RUN.value, METRICS.value)


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
