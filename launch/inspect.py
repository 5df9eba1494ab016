r"""Describes a model and how it reads text, without its weights.

  python -m launch.inspect --model=SPEC [--input=rows.jsonl] [--tokenizer=FOLDER]

SPEC as in launch.sample. Printed are the architecture and its memory, what was taken for granted
where the files do not say, the tokens that begin and end texts and answers, what the chat template
adds, a conversation token by token, and how the numbers from 0 to 999 are cut. With --input (rows
as in launch.score) also how these rows are read.
"""

from absl import flags

from launch import lm_rows
from subliminal_jax.runs import run_program

MODEL = flags.DEFINE_string('model', 'package:smollm2-135m-instruct', 'the model (see above)')
INPUT = flags.DEFINE_string('input', None, 'rows to show as the model reads them')
COLUMNS = flags.DEFINE_list(
    'columns', [], 'what the input calls our fields: prompt=question,completion=response')
TOKENIZER = flags.DEFINE_string(
    'tokenizer', None, "a folder with a tokenizer.json, instead of the model's own")
CHAT_DATE = flags.DEFINE_string(
    'chat_date', None, 'the date shown to a chat template that asks for one')


def main(rest: list[str]) -> None:
    del rest
    from subliminal_jax.data import rows as jsonl, shapes
    from subliminal_jax.models import inspection, loading

    given = []
    if INPUT.value:
        lm_rows.required(input=INPUT.value)
        given, bad = lm_rows.checked(INPUT.value, jsonl.prompt_trouble,
                                     shapes.columns_of(COLUMNS.value))
        if bad:
            print(f'note: {jsonl.bad_lines(INPUT.value, bad)}')
    found = loading.describe(MODEL.value, CHAT_DATE.value, TOKENIZER.value)
    print(f'model: {MODEL.value} ({found.place})')
    for note in found.notes:
        print(f'note: {note}')
    for line in (*inspection.architecture(found.config), *inspection.text(found.tokenizer)):
        print(line)
    if given:
        for line in inspection.rows(found.tokenizer, found.config, given):
            print(line)


if __name__ == '__main__':
    run_program(main)
