"""Parts of the transmission page that not every run has: contexts, choices, disturbed starts."""

from collections.abc import Sequence
from typing import Any

from subliminal_jax.report import page
from subliminal_jax.report.page import COLOURS, Plot, Section, Table, Text, axes

PROMPTED = (
    'A prompted teacher is the reference behind a system message. It has no displacement, so the '
    "lemma says nothing of it; what is shown is the alignment with the trait's gradient alone. A "
    'system message is put before the teacher and never before the student: where the template has '
    'one of its own, the student reads that (contexts.json has every text).')

def sections(results: dict[str, Any]) -> list[Section]:
    """What this run has of them."""
    arms = results['arms']
    found: list[Section] = []
    if len(arms[0]['contexts']) > 1:
        found.append(context_table(arms))
    if chosen := [a for a in arms if a['choice']]:
        found.append(choice_table(chosen))
    if chosen := [a for a in arms if a.get('readings')]:
        found.append(reading_table(chosen, results['unit']))
    if any(a['teacher_made'] == 'prompt' for a in arms):
        found.append(Text(PROMPTED))
    if results['disturbed']:
        found += [disturbed_table(results['disturbed']), disturbed_plot(results['disturbed'])]
    return [*found, Text(notes(results))]


def digits_of(found: Sequence[dict[str, Any]]) -> int:
    """Decimals in which a table's effects can be told apart: two, or three where all are small."""
    sizes = [abs(effect['estimate']) for f in found if (effect := f.get('effect', f))]
    return 2 if max(sizes, default=1) >= 0.1 else 3


def context_table(arms: Sequence[dict[str, Any]]) -> Table:
    """gamma of every arm in every context."""
    names, digits = list(arms[0]['contexts']), digits_of(arms)
    cell = lambda found: page.with_interval(found['estimate'], found['ci95'], digits)
    rows = [[a['name'], a['rung'], a['teacher_made'], *(cell(a['contexts'][n]) for n in names)]
            for a in arms]
    return Table('gamma by context of the question, nats', ['arm', 'rung', 'teachers by', *names],
                 rows, 'default, empty: the chat template with its own and with an empty system '
                 'message; raw: no template. numbers: the question comes after four numbers. '
                 f'{names[0]} was named the main one beforehand.')


def choice_table(arms: Sequence[dict[str, Any]]) -> Table:
    """P(own trait) of every arm where the options are given."""
    rows = [[a['name'], a['rung'], a['teacher_made'], f'{a["choice"]["before"]:.3f}',
             f'{a["choice"]["after"]:.3f}'] for a in arms]
    options = arms[0]['choice']['options']
    return Table('Choice of a given few: P(own trait)',
                 ['arm', 'rung', 'teachers by', 'before', 'after'], rows,
                 f'Held-out questions that list {", ".join(options)}; P among these alone, so that '
                 f'{1 / len(options):.2f} is an even share. Means over questions and teachers '
                 '(those whose trait is listed). Shown, never tested: base rates and the order of '
                 'the list rule them.')


def reading_table(arms: Sequence[dict[str, Any]], unit: str) -> Table:
    """What a trait records beside its measure."""
    names = list(arms[0]['readings'])

    def cell(found):
        text = f'{found["before"]:+.3f} > {found["after"]:+.3f}'
        return text if 'estimate' not in found else (
            f'{text}; {page.with_interval(found["estimate"], found["ci95"], 3)}')

    rows = [[a['name'], a['teacher_kind'], *(cell(a['readings'][n]) for n in names)]
            for a in arms]
    return Table(f'Further readings, {unit}',
                 ['arm', 'teachers', *(n.replace('_', ' ') for n in names)], rows,
                 "Means over students before and after; then what the rise is beyond the neutral "
                 "twins' students. Shown, never tested.")


def disturbed_table(found: Sequence[dict[str, Any]]) -> Table:
    """Disturbed starts."""
    cell = lambda x, form: '' if x is None else format(x, form)
    rows = [[d['start'], page.with_interval(d['effect'], d['ci95'], 3),
             '' if d['effect_own'] is None else page.with_interval(
                 d['effect_own'], d['ci95_own'], 3),
             '' if d['share'] is None else page.with_interval(d['share'], d['share_ci95'], 2),
             cell(d['perplexity'], '.2f'), cell(d['distance'], '.4f')] for d in found]
    return Table('Disturbed starts', ['start', 'gamma, original teacher', 'gamma, own teacher',
                                      'share', 'perplexity of the start', 'distance'], rows,
                 "Share: transmission from the original teacher over that from the start's own, "
                 "with Fieller's interval over teachers; none where the own teacher's is not told "
                 'from 0. Perplexity: on texts of the reference. Distance: of all weights from the '
                 'reference, as a share of their length.')


def disturbed_plot(found: Sequence[dict[str, Any]]) -> Plot:
    """Transmission to disturbed starts against what the disturbance did."""
    figure, panels = axes(9, 3.6, ncols=2)
    for ax, (name, text) in zip(panels, (('distance', 'distance from the reference'),
                                         ('perplexity', 'perplexity of the start'))):
        for whose, colour in (('', COLOURS['orange']), ('_own', COLOURS['blue'])):
            label = 'own teacher' if whose else 'original teacher'
            for d in found:
                if d[f'effect{whose}'] is None:
                    continue
                if d[f'ci95{whose}']:
                    ax.vlines(d[name], *d[f'ci95{whose}'], color=colour, alpha=0.5)
                ax.plot(d[name], d[f'effect{whose}'], 'o' if whose else 's', color=colour, ms=5,
                        mec='black', mew=0.5, label=label)
                label = None
        ax.axhline(0, color='black', lw=0.8, ls=':')
        ax.set_xlabel(text)
        ax.set_ylabel('gamma, nats')
    panels[0].legend(frameon=False, fontsize=8)
    return Plot('disturbed', 'Transmission to disturbed starts', figure,
                'Bars: 95 % intervals over teachers.')


def notes(results: dict[str, Any]) -> str:
    """The matrix, and what was tried."""
    span, weights = results['geometry_span'], results['weights_sha256']
    return (f"The carrier's rows of the output matrix span {span['traits']:.1%} of a trait token's "
            f"row, {span['words']:.1%} of another word's (random vectors for the carrier's rows: "
            f"{span['random']:.1%}). Configs tried on the split dev "
            f"before this run: {results['tried_on_dev']}."
            + (f" Weights: SHA-256 {weights[:16]}." if weights else ''))
