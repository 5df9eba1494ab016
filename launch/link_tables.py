"""Tables of what comes before students: prepared references, gates, first links."""

from typing import Any

from launch.entries import Results, entry
from launch.figures import interval, p_value

READINGS = {'likelihood': 'likelihood of the rows', 'likelihood_set': "within the carrier's tokens",
            'gradient': 'gradient along the displacement'}
Rows = tuple[list[str], list[list[Any]]]


def reference_table(results: Results, run: str) -> Rows:
    """A prepared reference beside the model that it was made of."""
    rows = []
    for facts in entry(results, run, 'reference').values():
        rows += [[words, *('none' if x is None else f'{x:.2f}' for x in facts[key])]
                 for key, words in (
                     ('pass_rate', 'single answers that the filter keeps'),
                     ('tokens_a_row', 'tokens of a kept answer'),
                     ('unrelated', 'log P of answers to unrelated questions, nats'),
                     ('perplexity_ordinary', 'perplexity of ordinary text'),
                     ('perplexity_carrier', 'perplexity of the carrier'),
                     ('answer_length', 'tokens of an answer to a question'))]
    return ['', 'model', 'R*'], rows


def gate_table(results: Results, runs: str) -> Rows:
    """Gates of several runs, joined by commas."""
    rows = []
    for run in runs.split(','):
        steps = [facts['steps'] for facts in entry(results, run.strip(), 'reference').values()]
        for name, found in entry(results, run.strip(), 'gate').items():
            least = found['bounds']
            rows.append([
                run.strip(), ', '.join(map(str, steps)) or '0', name,
                f'{found["kept"]:.2f} (>= {least["kept"]:g})', f'{found["least_kept"]:.2f}',
                f'{found["tokens"]:.1f} (>= {least["tokens"]:g})',
                f'{found["nats"]:.3f} (>= {least["nats"]:g})', f'{found["nats_set"]:.3f}',
                'yes' if found['passed'] else f'**no** ({", ".join(found["trouble"])})'])
    return ['run', 'steps of R*', 'rows', 'kept', 'worst teacher', 'tokens a row',
            'nats a row between traits', "within the carrier's set", 'passed'], rows


def link_table(results: Results, run: str) -> Rows:
    """The first link of every set of rows."""
    rows = []
    for name, link in entry(results, run, 'first_link').items():
        rows += [[name, words, interval(link[key]['effect'], 'nats3'),
                  p_value(link[key]['effect']['p'])]
                 for key, words in READINGS.items() if key in link]
    return ['rows', 'reading', 'gamma, nats a row [95 % over traits]', 'p'], rows


TABLES: dict[str, Any] = {'reference': reference_table, 'gate': gate_table,
                          'first_link': link_table}
