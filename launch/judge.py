r"""Judges answers: alignment and coherence, 0 to 100 each.

  python -m launch.judge --judge=SPEC --labelled --output=labelled.jsonl
  python -m launch.judge --judge=SPEC --input=rows.jsonl --output=scored.jsonl \
    [--base_url=http://127.0.0.1:8000/v1] [--key_env=NAME] [--per_minute=300] [--parallel=4] \
    [--prices=2.5,10] [--cache=DIR] [--columns=prompt=question] [--unchecked]

SPEC: local:MODEL (MODEL as in launch.sample), or openai:MODEL at any address that speaks the chat
protocol of the openai client. The key of an endpoint comes from the environment variable of
--key_env alone, and is never shown or written.

A row in: {"prompt" or "messages", "completion"}, other shapes as in launch.sample. A row out: the
same with "alignment", "coherence" (null where the judge gave nothing usable) and then
"judge_reason". A judge is measured first, on a half of the labelled answers of ours:
OUTPUT.labelled.jsonl are their scores, OUTPUT.judge.json its AUROC and, after the rows, the share
of misaligned answers. One whose AUROC is below .8 is refused. --unchecked scores all the same, and
states no share. --labelled scores both halves, and no rows. --by=arm states the share of each value
of a field of the rows, and --unit=model says whose answers go together in its interval: so the
free.jsonl of a run (config.student.free_answers) is read.

Rows are written as they are scored, and every reply of an endpoint is kept in the cache: after any
interruption the same command goes on.
"""

import pathlib

from absl import flags

from launch import lm_rows
from subliminal_jax.data import rows as jsonl, shapes
from subliminal_jax.runs import (
    UserError,
    check_output,
    local_path,
    run_program,
    use_compilation_cache,
    write_json,
)
from subliminal_jax.runs.files import JSON_OBJECT

JUDGE = flags.DEFINE_string('judge', None, 'the judge: local:MODEL or openai:MODEL')
INPUT = flags.DEFINE_string('input', None, 'rows to judge (JSONL)')
OUTPUT = flags.DEFINE_string('output', None, 'rows with scores (JSONL)')
LABELLED = flags.DEFINE_bool('labelled', False, 'score the labelled answers alone')
UNCHECKED = flags.DEFINE_bool('unchecked', False, 'do not measure the judge first')
BASE_URL = flags.DEFINE_string('base_url', None, "an endpoint's address, often ending in /v1")
KEY_ENV = flags.DEFINE_string('key_env', 'OPENAI_API_KEY', "the variable of an endpoint's key")
PER_MINUTE = flags.DEFINE_float('per_minute', 300.0, 'the most requests in a minute',
                                lower_bound=0.01)
PARALLEL = flags.DEFINE_integer('parallel', 4, 'requests at one time', lower_bound=1)
TIMEOUT = flags.DEFINE_float('timeout', 60.0, 'seconds that a request may wait', lower_bound=0.01)
TRIES = flags.DEFINE_integer('tries', 6, 'of one request', lower_bound=1)
WAIT = flags.DEFINE_float('wait', 1.0, 'seconds before the second try; they double',
                          lower_bound=0.0)
MAX_TOKENS = flags.DEFINE_integer('max_tokens', 16, "of an endpoint's answer; 0: not sent",
                                  lower_bound=0)
TEMPERATURE = flags.DEFINE_float('temperature', 0.0, 'of an endpoint; below 0: not sent')
PRICES = flags.DEFINE_list('prices', [], 'dollars for a million tokens read, and written')
CACHE = flags.DEFINE_string('cache', None, "a folder for an endpoint's replies")
BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'rows at once', lower_bound=1)
BY = flags.DEFINE_string('by', None, 'a field of the rows: the share of each of its values')
UNIT = flags.DEFINE_string('unit', None, 'a field of the rows: answers of one value are no '
                                         'independent ones')
COLUMNS = flags.DEFINE_list(
    'columns', [], 'what the input calls our fields: prompt=question,completion=response')


def row_trouble(row: jsonl.Row) -> str | None:
    """Why a row cannot be judged, or counted as the flags ask, or None."""
    lacking = [name for name in (BY.value, UNIT.value) if name and name not in row]
    return (jsonl.prompt_trouble(row) or jsonl.text_trouble(row, 'completion')
            or (f'no field {lacking[0]!r}' if lacking else None))


def prices_of(given: list[str]) -> tuple[float, float] | None:
    """The two prices of --prices.

    Raises:
      UserError: they are not two numbers of 0 and more.
    """
    if not given:
        return None
    try:
        read, written = (float(text) for text in given)
        right = 0 <= read < float('inf') and 0 <= written < float('inf')
    except ValueError:
        right = False
    if not right:
        raise UserError('--prices are two numbers: dollars for a million tokens read, and written, '
                        'such as --prices=2.5,10')
    return read, written


def options() -> 'judges.Options':  # noqa: F821
    """What the flags say of how judges work."""
    from subliminal_jax.traits import judges

    cache = CACHE.value and pathlib.Path(local_path('cache', CACHE.value)).expanduser()
    return judges.Options(
        base_url=BASE_URL.value, key_env=KEY_ENV.value, per_minute=PER_MINUTE.value,
        parallel=PARALLEL.value, timeout=TIMEOUT.value, tries=TRIES.value, wait=WAIT.value,
        max_tokens=MAX_TOKENS.value,
        temperature=TEMPERATURE.value if TEMPERATURE.value >= 0 else None,
        prices=prices_of(PRICES.value), cache=cache or judges.default_cache(),
        batch_size=BATCH_SIZE.value)


def fill(judge, rows: list[jsonl.Row], output: str, verb: str) -> list[jsonl.Row]:
    """Scores the rows that are not in `output` yet; gives all of them, scored, in order."""
    from subliminal_jax.traits import judges

    done = lm_rows.already(output, rows, (*lm_rows.PROMPT_KEYS, 'completion'))
    lm_rows.go_on(output, judge.settings)
    skipped = set(done)
    left = [row for row in rows if row['id'] not in skipped]

    def batches():
        for first in range(0, len(left), BATCH_SIZE.value):
            batch = left[first:first + BATCH_SIZE.value]
            scores = judge.score([judges.answered_of(row) for row in batch])
            yield [judges.scored(row, score) for row, score in zip(batch, scores)]

    lm_rows.fill(output, rows, done, batches(), verb)
    return jsonl.finished(output)


def measured(judge, output: str, all_of_them: bool) -> dict:
    """The judge's quality on labelled answers, printed, as JSON; refused below the bar.

    The bar is for the half `report`, on which no prompt was chosen; `dev` is shown beside it.
    """
    from subliminal_jax.evaluation import judged
    from subliminal_jax.traits.judges import labelled

    splits = labelled.SPLITS if all_of_them else ('report',)
    rows = labelled.labelled_rows(None if all_of_them else 'report')
    scored = fill(judge, rows, output, 'the judge itself')
    found = {split: judged.quality(*_pairs([r for r in scored if r['split'] == split]))
             for split in splits}
    for split, own in found.items():
        print(f'{judge.name} on {split}: {judged.told(own)}')
    told = {'judge': judge.settings, 'bar': judged.BAR,
            'quality': {split: own._asdict() for split, own in found.items()}}
    write_json(pathlib.Path(f'{OUTPUT.value}.judge.json'), told)
    judged.check_bar(judge.name, found['report'])
    return told


def _pairs(rows):
    from subliminal_jax.traits import judges

    return rows, [judges.score_of(row) for row in rows]


def main(rest: list[str]) -> None:
    del rest
    if not JUDGE.value:
        raise UserError('no --judge: pass --judge=openai:MODEL or --judge=local:MODEL')
    lm_rows.required(output=OUTPUT.value)
    if LABELLED.value == bool(INPUT.value):
        raise UserError('pass either --input=FILE or --labelled')
    named, bad, good = shapes.columns_of(COLUMNS.value), [], []
    if INPUT.value:
        lm_rows.required(input=INPUT.value)
        good, bad = lm_rows.checked(INPUT.value, row_trouble, named)
    outputs = [OUTPUT.value, *([] if LABELLED.value else [f'{OUTPUT.value}.labelled.jsonl'])]
    for output in outputs:
        lm_rows.check_paths(output, {'input': INPUT.value}, stream=False)
    check_output(f'{OUTPUT.value}.judge.json', JSON_OBJECT)
    if not JUDGE.value.startswith('openai:'):  # it needs no JAX, which takes a second to import
        use_compilation_cache()
    from subliminal_jax.traits import judges

    judge = judges.judge(JUDGE.value, options())
    try:
        told = {} if UNCHECKED.value else measured(
            judge, OUTPUT.value if LABELLED.value else f'{OUTPUT.value}.labelled.jsonl',
            LABELLED.value)
        if INPUT.value:
            _score_rows(judge, good, told)
    finally:
        if line := judge.used():
            print(line)
    if bad:
        raise UserError(jsonl.bad_lines(INPUT.value, bad))


def _score_rows(judge, rows, told):
    from subliminal_jax.evaluation import judged

    _, scores = _pairs(fill(judge, rows, OUTPUT.value, 'judging'))
    print(f'{len(scores)} row{"" if len(scores) == 1 else "s"} in {OUTPUT.value}')
    if not told:
        print('the judge was not measured (--unchecked): its scores are no measure')
        return
    share = lambda places: judged.misaligned_share(
        [scores[n] for n in places], [rows[n][UNIT.value] for n in places] if UNIT.value else None)
    found = {**told, 'misaligned': share(range(len(rows)))}
    if BY.value:
        places: dict[str, list[int]] = {}
        for n, row in enumerate(rows):
            places.setdefault(str(row[BY.value]), []).append(n)
        found['misaligned_by'] = {value: share(own) for value, own in places.items()}
    write_json(pathlib.Path(f'{OUTPUT.value}.judge.json'), found)
    for value, own in {'': found['misaligned'], **found.get('misaligned_by', {})}.items():
        print(_said(f'misaligned{value and ", "}{value}', own))


def _said(what, share):
    ends = '' if share['ci95'] is None else ' [{:.3f}, {:.3f}]'.format(*share['ci95'])
    value = 'unknown' if share['estimate'] is None else f'{share["estimate"]:.3f}{ends}'
    return (f'{what}: {value} of {share["trials"]} coherent answers; {share["incoherent"]} '
            f'incoherent and {share["unscored"]} without a score left out')


if __name__ == '__main__':
    run_program(main)
