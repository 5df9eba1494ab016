"""Scores completions: the log-probability of every token.

  python -m launch.score --model=SPEC --input=rows.jsonl --output=out.jsonl [--raw] [--lora=DIR] \\
    [--tokenizer=FOLDER] [--columns=prompt=question] [--allow_special] [--mesh=data:2,fsdp:4]

SPEC as in launch.sample. A row in: {"prompt" or "messages", "completion"}, perhaps "id" and
"system"; with --raw {"text"}, which is scored as it stands, without the chat template. A row out:
the same with "token_ids", "logprobs" (nats) and "total_logprob". A completion's tokens end with the
template's stop token; --raw gives the text's n tokens and the log-probabilities of those that have
one before them: n where the tokenizer begins texts with a token, else n - 1. The same command goes
on where a stopped one was; OUTPUT.settings.json tells what the rows were made with, and other
settings need another output. A row that spells a control token is text, unless --allow_special.
--mesh lays the model and each batch over devices (docs/accelerators.md): where rows are scored is
no setting of theirs.
"""

from absl import flags

from launch import lm_rows
from launch.start import laid, mesh_flag
from subliminal_jax.data import rows as jsonl
from subliminal_jax.runs import run_program

MODEL = flags.DEFINE_string('model', 'package:smollm2-135m-instruct', 'the model (see above)')
INPUT = flags.DEFINE_string('input', None, 'rows to score (JSONL)')
OUTPUT = flags.DEFINE_string('output', None, 'rows with scores (JSONL)')
RAW = flags.DEFINE_bool('raw', False, 'rows are {"text"}; no chat template')
LORA = flags.DEFINE_string('lora', None, 'an adapter: a folder (of PEFT too) or hf:OWNER/NAME')
DTYPE = flags.DEFINE_enum('dtype', 'float32', lm_rows.DTYPES, 'of the weights and the layers')
BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'rows at once', lower_bound=1)
MESH = mesh_flag()
CHAT_DATE = flags.DEFINE_string(
    'chat_date', None, 'the date shown to a chat template that asks for one')
TOKENIZER = flags.DEFINE_string(
    'tokenizer', None, "a folder with a tokenizer.json, instead of the model's own")
COLUMNS = flags.DEFINE_list(
    'columns', [], 'what the input calls our fields: prompt=question,completion=response')
ALLOW_SPECIAL = flags.DEFINE_bool(
    'allow_special', False, 'control tokens that rows spell become these tokens')


def cheap_check(row: jsonl.Row) -> str | None:
    """Why a row has not the fields that are scored, or None."""
    if RAW.value:
        return jsonl.text_trouble(row, 'text')
    return jsonl.prompt_trouble(row) or jsonl.text_trouble(row, 'completion')


def main(rest: list[str]) -> None:
    del rest
    lm_rows.required(input=INPUT.value, output=OUTPUT.value)
    mesh = laid(MESH.value, BATCH_SIZE.value)

    def check(model, row):
        from subliminal_jax.sampling import score

        return score.score_trouble(model.tokenizer, model.config, row, RAW.value,
                                   ALLOW_SPECIAL.value)

    def batches(model, rows, done):
        from subliminal_jax.sampling import score

        return score.score_rows(model.params, model.config, model.tokenizer, rows, raw=RAW.value,
                                batch_size=BATCH_SIZE.value, done=done, mesh=mesh,
                                allow_special=ALLOW_SPECIAL.value)

    lm_rows.run(INPUT.value, OUTPUT.value, cheap_check,
                lambda: lm_rows.load(MODEL.value, LORA.value, CHAT_DATE.value, DTYPE.value,
                                     TOKENIZER.value, mesh=mesh),
                check, batches, (*lm_rows.PROMPT_KEYS, 'completion', 'text'), 'scoring',
                {**lm_rows.values(MODEL, LORA, DTYPE, RAW, BATCH_SIZE, CHAT_DATE, TOKENIZER),
                 'allow_special': ALLOW_SPECIAL.value or None}, COLUMNS.value)


if __name__ == '__main__':
    run_program(main)
