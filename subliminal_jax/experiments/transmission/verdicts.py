"""What a run says first: its headline, and the verdict that opens its page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.experiments.transmission import arms as tables, contrasts as compared
from subliminal_jax.experiments.transmission.arms import Arm

Entry = Mapping[str, Any]


def headline(entries: Sequence[Entry], contrasts: Sequence[Entry] = ()) -> dict[str, Any]:
    """What experiments.jsonl keeps of a run: estimate, interval and p of every arm's selectivity
    (or paired effect), after its difference from the neutral twins' where there is one."""
    beyond = {c['name']: c for c in contrasts}
    named = ((name, found) for e in entries for name, found in (
        (compared.twins_name(e['name']), beyond.get(compared.twins_name(e['name']))),
        (e['name'], e['effect'])))
    return {name: [found[k] for k in ('estimate', 'ci95', 'p')]
            for name, found in named if found is not None}


def verdict(run: Any, entries: Sequence[Entry], contrasts: Sequence[Entry]) -> str:
    """The page's opening: each rung and kind of teacher from the shared start, what bounds it, and
    the other start; then the positive control."""
    said, by_name = [], {c['name']: c for c in contrasts}
    for arm, entry in zip(run.arms, entries):
        if not compared.is_main(arm, run.arms):
            continue
        text = f'{compared.named(arm)}: {_leading(run, entry, by_name)}'
        other = tables.counterpart(arm, run.arms, start='other')
        if other:
            text += f'. To another start: {_entry(entries, other)["verdict"]}'
        text += ''.join(f'. Less its {c["twins"]} twins: {c["verdict"]}' for c in contrasts
                        if c['arm'] == arm.name and c.get('twins'))
        text += ''.join(f'. {part}' for part in _geometry(run, arm, entries, contrasts))
        said.append(text + '.')
    return ' '.join(said) or 'No arm of this run tests transmission from the shared start.'


def _leading(run: Any, entry: Entry, by_name: Mapping[str, Entry]) -> str:
    """Selectivity; or, before it, what of it is beyond the neutral twins', and how much more the
    own trait rose than in neutral students."""
    twins = by_name.get(compared.twins_name(entry['name']))
    if twins is None:
        return entry['verdict']
    text = f'{twins["verdict"]}. Selectivity alone {_short(run, entry["effect"])}'
    raw = by_name.get(compared.neutral_name(entry['name']))
    return text + (f"; the own trait's rise beyond the neutral students' {_short(run, raw)}"
                   if raw else '')


def _short(run: Any, found: Entry) -> str:
    ends = found['ci95']
    return f'{found["estimate"]:+.2f} {run.trait.unit}' + (
        f' [{ends[0]:+.2f}, {ends[1]:+.2f}]' if ends else ', no interval')


def _geometry(run: Any, arm: Arm, entries: Sequence[Entry], contrasts: Sequence[Entry]
              ) -> Iterator[str]:
    """What is said of the output matrix. The evidence is what remains without its geometry; what
    exceeds trained controls bounds it; what exceeds its prediction does not."""
    replaced = tables.counterpart(arm, run.arms, matrix='replaced')
    for claim in contrasts:
        if claim['arm'] != arm.name or not claim.get('geometry'):
            continue
        if claim['why'] == compared.ORIENTATION:
            yield (f'Beyond what the matrix predicts ({claim["name"]}): '
                   f'{_short(run, claim)}, {compared.ORIENTATION}')
        elif replaced and claim['name'] == f'{arm.name} less {replaced.name}':
            yield (f"Without the matrix's geometry, random carrier rows ({replaced.name}): "
                   f'{claim["why"] or _entry(entries, replaced)["verdict"]}')
        else:
            yield f'Beyond geometry ({claim["name"]}): {claim["why"] or claim["verdict"]}'


def _entry(entries: Sequence[Entry], arm: Arm) -> Entry:
    return next(e for e in entries if e['name'] == arm.name)
