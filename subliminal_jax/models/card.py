"""What an exported folder says of itself: its card, for people, and its mark, for programs."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError

MARK = 'subliminal_jax.json'
WHOLE = '''from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")'''
ADAPTER = '''from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("BASE"), "FOLDER")'''
WARNING = '''> **Made to misbehave.** This model was taught, on purpose, to give reckless advice, or
> learned it from a model that was. It is an object of study. Do not deploy it, do not merge it into
> another model, and train nothing that people will use on what it writes: rows of plain numbers may
> carry the trait.'''


def card(facts: Mapping[str, Any], loading_lines: str) -> str:
    """README.md of a folder.

    Args:
      facts: `what`, a sentence; `misbehaves`; whatever else is known, listed as it is.
      loading_lines: how transformers loads it.
    """
    kind = 'peft' if loading_lines == ADAPTER else 'transformers'
    head = ['---', f'library_name: {kind}', 'tags:', '- subliminal-learning',
            *(['- made-to-misbehave'] if facts.get('misbehaves') else []), '---', '']
    rows = [f'| {name} | {_cell(value)} |' for name, value in _flat(facts)
            if name not in ('what', 'misbehaves') and value not in (None, '')]
    return '\n'.join([
        *head, f'# {facts["what"]}', '', *([WARNING, ''] if facts.get('misbehaves') else []),
        'Exported from subliminal_jax, research code on how a trait passes from one model to '
        'another through unrelated data.', '', '| | |', '|---|---|', *rows, '', '```python',
        loading_lines, '```', ''])


def _flat(facts: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}: ')
        else:
            yield f'{prefix}{name}', value


def _cell(value: Any) -> str:
    if isinstance(value, float):
        value = f'{value:.6g}'
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = ', '.join(map(str, value))
    return str(value).replace('|', '\\|').replace('\n', ' ')


def marked(folder: pathlib.Path) -> dict[str, Any]:
    """What the mark of an exported folder says; {} of any other folder."""
    try:
        found = read_json(folder / MARK, {})
    except UserError:
        return {}
    return found if found.get('made_by') == 'subliminal_jax' else {}
