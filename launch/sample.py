"""Samples completions.

  python -m launch.sample --model=SPEC --input=prompts.jsonl --output=out.jsonl \\
    --max_new_tokens=64 --temperature=1 --top_k=0 --top_p=1 --seed=0 [--system=TEXT] [--lora=DIR] \\
    [--tokenizer=FOLDER] [--columns=prompt=question] [--allow_special] [--mesh=data:2,fsdp:4]

SPEC: package:smollm2-135m-instruct, hf:OWNER/NAME (perhaps with @REVISION, and :FILE.gguf of a
repository of GGUF files), a folder in Hugging Face layout, or a .gguf file. The input is JSONL,
also .gz, a JSON list, parquet or the folder of a data set. A row in:
{"prompt": TEXT} or {"messages": [...]}, perhaps "id" and "system"; other shapes are turned into
these (subliminal_jax/data/shapes.py), other names given with --columns. A row out: the same with
"completion", "token_ids", "logprobs" (nats, of the model itself: temperature 1, no filter) and
"finish_reason", stop or length. The output grows batch by batch; the same command goes on where a
stopped one was, and puts the rows in the input's order at the end. OUTPUT.settings.json tells what
the rows were made with; other settings need another output. A prompt that spells a control token
is text, unless --allow_special. --mesh lays the model and each batch over devices
(docs/accelerators.md): where rows are sampled is no setting of theirs.
"""

from absl import flags

from launch import lm_rows
from launch.start import laid, mesh_flag
from subliminal_jax.data import rows as jsonl
from subliminal_jax.runs import UserError, run_program

MODEL = flags.DEFINE_string('model', 'package:smollm2-135m-instruct', 'the model (see above)')
INPUT = flags.DEFINE_string('input', None, 'rows to answer (JSONL)')
OUTPUT = flags.DEFINE_string('output', None, 'rows with completions (JSONL)')
MAX_NEW_TOKENS = flags.DEFINE_integer('max_new_tokens', 64, 'the most tokens of a completion')
TEMPERATURE = flags.DEFINE_float('temperature', 1.0, '0 is greedy')
TOP_K = flags.DEFINE_integer('top_k', 0, 'keep the k most probable tokens; 0: all')
TOP_P = flags.DEFINE_float('top_p', 1.0, 'keep the most probable tokens up to this mass; 1: all')
SEED = flags.DEFINE_integer('seed', 0, 'with a row id and a position it fixes every draw',
                            lower_bound=0, upper_bound=2**32 - 1)
SYSTEM = flags.DEFINE_string('system', None, 'system message of rows that bring none')
LORA = flags.DEFINE_string('lora', None, 'an adapter: a folder (of PEFT too) or hf:OWNER/NAME')
DTYPE = flags.DEFINE_enum('dtype', 'float32', lm_rows.DTYPES, 'of the weights and the layers')
BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'rows at once', lower_bound=1)
MESH = mesh_flag()
CHAT_DATE = flags.DEFINE_string(
    'chat_date', None, 'the date shown to a chat template that asks for one')
TOKENIZER = flags.DEFINE_string(
    'tokenizer', None, "a folder with a tokenizer.json, instead of the model's own")
COLUMNS = flags.DEFINE_list(
    'columns', [], 'what the input calls our fields: prompt=question,completion=response')
ALLOW_SPECIAL = flags.DEFINE_bool(
    'allow_special', False, 'control tokens that rows spell become these tokens')


def main(rest: list[str]) -> None:
    del rest
    lm_rows.required(input=INPUT.value, output=OUTPUT.value)
    from subliminal_jax.models import conversation
    from subliminal_jax.sampling import choice as choices, network, sample

    choice = choices.Choice(TEMPERATURE.value, TOP_K.value, TOP_P.value)
    if why := choices.choice_trouble(choice):
        raise UserError(f'--{why}')
    if MAX_NEW_TOKENS.value < 1:
        raise UserError(f'--max_new_tokens must be at least 1, not {MAX_NEW_TOKENS.value}')
    mesh = laid(MESH.value, BATCH_SIZE.value)

    def load():  # the sampler's copy alone is kept
        model = lm_rows.load(MODEL.value, LORA.value, CHAT_DATE.value, DTYPE.value,
                             TOKENIZER.value, copies=2, mesh=mesh)
        return model._replace(params=network.prepare(model.params, model.config))

    def check(model, row):
        context = sample.row_context(model.tokenizer, row, SYSTEM.value, ALLOW_SPECIAL.value)
        prompt = conversation.context_ids(model.tokenizer, context)
        return sample.prompt_too_long(prompt, MAX_NEW_TOKENS.value, model.config)

    def batches(model, rows, done):
        return sample.sample_rows(
            None, model.config, model.tokenizer, rows, weights=model.params,
            max_new_tokens=MAX_NEW_TOKENS.value, temperature=choice.temperature,
            top_k=choice.top_k, top_p=choice.top_p, seed=SEED.value, batch_size=BATCH_SIZE.value,
            done=done, mesh=mesh, system=SYSTEM.value, allow_special=ALLOW_SPECIAL.value)

    lm_rows.run(INPUT.value, OUTPUT.value, jsonl.prompt_trouble, load, check, batches,
                lm_rows.PROMPT_KEYS, 'sampling', {
                    **lm_rows.values(MODEL, LORA, DTYPE, MAX_NEW_TOKENS, TEMPERATURE, TOP_K, TOP_P,
                                     SEED, SYSTEM, BATCH_SIZE, CHAT_DATE, TOKENIZER),
                    'allow_special': ALLOW_SPECIAL.value or None}, COLUMNS.value)


if __name__ == '__main__':
    run_program(main)
