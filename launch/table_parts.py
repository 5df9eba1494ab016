"""The tables and figures of pages, from kept results.json files; no word of a verdict is typed."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch import (
    audit_tables,
    chaos_tables,
    compile_tables,
    cross_tables,
    frontier_tables,
    language_tables,
    link_tables,
    page_tables,
    speed_tables,
)
from launch.claims import CLAIMS, Claim
from launch.crossed import CELLS
from launch.entries import Results, effect, entry, over
from launch.figures import SPECS, ends, interval, p_value
from subliminal_jax.runs import UserError, unknown_name

ALPHA = 0.05
GREY = 'positive control, no evidence'
IDLE = "bounds nothing: the control's students did not learn their rows"
CONDITIONS = {
    'reference': 'reference (untrained)', 'teacher': 'teacher',
    'student_aux': 'student, auxiliary logits on noise',
    'student_all': 'student, all logits on noise', 'cross_aux': 'other start, auxiliary logits',
    'cross_all': 'other start, all logits', 'placebo': "the placebo teacher's student"}


def figure(results: Results, run: str, key: str, style: str = 'nats') -> str:
    """A figure in a sentence.

    Args:
      results: by run.
      run, key: see `entries.entry`; runs joined by + are pooled, for an interval or a verdict.
      style: nats (estimate and leading interval, two decimals), nats3 (three), share, percent
        (estimate and interval); p; range (of two numbers); verdict; minutes (of seconds); or a
        format specification of Python, such as +.2f.

    Raises:
      UserError: no such entry, or it is not of that style.
    """
    try:
        if style in ('nats', 'nats3', 'share', 'percent'):
            return interval(effect(results, run, key), style)
        if style == 'verdict':
            return verdict(effect(results, run, key))
        value = entry(results, run, key)
        if style == 'p':
            return p_value(value['effect']['p'] if 'effect' in value else value['p'])
        if style == 'range':
            return ends(value, '+.2f')
        if style == 'minutes':
            return f'{value / 60:.0f} min'
        return format(value, style)
    except (TypeError, ValueError, KeyError):
        raise UserError(f'results/{run}/results.json: {key!r} cannot be written as {style!r}'
                        ) from None


def is_shown(found: Mapping[str, Any]) -> bool:
    """The rule of every verdict: the interval lies above 0, and p <= .05 where there is a p."""
    p = found.get('p')
    return found['ci95'] is not None and found['ci95'][0] > 0 and (p is None or p <= ALPHA)


def verdict(found: Mapping[str, Any]) -> str:
    """Shown, or not and what the design would have seen, where it could have seen anything."""
    if found.get('bounds') is False:
        return found.get('why') or IDLE
    if is_shown(found):
        return 'shown'
    if (found.get('p_attainable') or 0) > ALPHA:
        return f'not shown; no outcome could reach p <= .05 (least {found["p_attainable"]:.2f})'
    mde = found.get('mde')
    return 'not shown' + (f'; would have seen {mde:.2f}' if mde is not None else '')


def table(results: Results, name: str, args: Sequence[str]) -> str:
    """A table by its name.

    Raises:
      UserError: no such table, or arguments that it does not take.
    """
    if name not in TABLES:
        raise unknown_name('table', name, tuple(TABLES))
    try:
        header, rows = TABLES[name](results, *args)
    except TypeError as error:
        raise UserError(f'the table {name} does not take {"; ".join(args)}: {error}') from None
    except KeyError as error:
        raise UserError(f'the table {name} of {"; ".join(args)}: no entry {error}') from None
    cells = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in cells)


def _names(text, entries):
    return [n.strip() for n in text.split(',')] if text else [e['name'] for e in entries]


def arms_table(results, run, names='', style='nats'):
    """Arms: what they are, effect, p and verdict; those that only serve as twins have none."""
    rows = []
    for name in _names(names, [a for a in results(run)['arms'] if a['effect']]):
        arm, found = entry(results, run, name), effect(results, run, name)
        fields = ', '.join(f'{k}={v}' for k, v in arm['fields'].items() if k != 'objective')
        word = verdict(found) if arm['evidence'] else GREY
        rows.append([f'`{name}`', arm['rung'], fields or 'the default',
                     *_intervals(results, run, found, style), p_value(found['p']), word])
    heads = _interval_heads(results, run, quantity(results, run))
    return ['arm', 'rung', 'what differs', *heads, 'p', 'verdict'], rows


def quantity(results: Results, run: str) -> str:
    """What the figures of a run's arms are: of a trait of one column there is no selectivity."""
    paired = results(run).get('estimator') == 'paired'
    return 'trait less neutral twin, nats' if paired else 'selectivity, nats'


def _interval_heads(results, run, what):
    units = over(results, run)
    return [f'{what} [95 % over {units}]', *(['[95 % over teachers]'] * (units == 'traits'))]


def _intervals(results, run, found, style):
    if over(results, run) != 'traits':
        return [interval(found, style)]
    teachers = found.get('ci95_teachers')
    return [interval(found, style), ends(teachers, SPECS[style]) if teachers else '']


def contrasts_table(results, run, names='', style='nats'):
    """Contrasts, and what the output matrix alone predicts."""
    rows = []
    for name in _names(names, results(run)['contrasts']):
        found = entry(results, run, name)
        what = found['what'] + ('' if found.get('bounds', True) else f' ({verdict(found)})')
        rows.append([name, found['rung'], *_intervals(results, run, found, style),
                     p_value(found.get('p')), what])
    if not names:
        for teachers, alone in results(run).get('geometry_predicted', {}).items():
            rows.append([f'the matrix alone, {teachers}', 'nothing is trained',
                         *_intervals(results, run, alone['effect'], style),
                         p_value(alone['effect']['p']), 'predicted from the output matrix'])
    return ['contrast', 'rung', *_interval_heads(results, run, 'nats'), 'p', 'what'], rows


def contexts_table(results, run, name):
    """An arm in every context that students are measured in."""
    found = entry(results, run, f'{name}/contexts')
    rows = [[name, interval(value, 'nats3'), p_value(value['p'])] for name, value in found.items()]
    unit = next(iter(found.values()))['unit']
    return ['context', f'selectivity, nats [95 % over {unit}s]', 'p'], rows


def traits_table(results, run, name, contrast=''):
    """By trait: the own beyond the others, and beyond the neutral twins' students if those are."""
    found = entry(results, run, f'{name}/effect/per_trait')
    columns = [found, *([entry(results, run, f'{contrast}/per_trait')] if contrast else [])]
    heads = ['selectivity, nats', "beyond the neutral twins' students, nats"]
    return ['trait', *heads[:len(columns)]], [
        [trait, *(f'{values[trait]:+.2f}' for values in columns)] for trait in found]


def rows_table(results, run, name):
    """An arm by the number of rows that its students have seen."""
    curve = entry(results, run, f'{name}/curve')
    return ['rows', *(str(p['rows']) for p in curve)], [
        [f'`{name}`', *(interval(p) for p in curve)]]


def before_table(results, run):
    """Every arm beside what it was in the pipeline that this run's was made of."""
    known = entry(results, 'before_joining', f'before/{run}')
    rows = [[f'`{arm["name"]}`', interval(known[arm['name']]), interval(arm['effect'])]
            for arm in results(run)['arms'] if arm['name'] in known]
    return ['arm', 'before', 'now'], rows


def curves_table(results, run):
    """The run's declared curves, a line each."""
    rows = []
    for line in results(run)['curves']:
        title, _, points = line.rpartition(': ')
        cells = []
        for point in points.split():
            x, _, arm = point.partition('=')
            cells.append(f'{x.replace("_", " ")}: {interval(effect(results, run, arm))}')
        rows.append([title, '; '.join(cells)])
    return ['by', f'{quantity(results, run)} [95 %]'], rows


def mnist_table(results, run):
    """Conditions beside the published ones; a difference's interval holds both."""
    found, rows = results(run), []
    for name, condition in found['conditions'].items():
        mine = condition['accuracy']
        mean, half = found['published']['conditions'].get(name, (None, None))
        cells = ['', '', '']
        if mean is not None:
            # The published +- is taken as half of a 95 % interval.
            wide = ((mine['ci95'][1] - mine['mean'])**2 + half**2)**0.5
            gap = mine['mean'] - mean
            cells = [f'{mean:.3f} +- {half:.3f}',
                     interval({'mean': gap, 'ci95': [gap - wide, gap + wide]}, 'nats3'),
                     found['published']['margins'].get(name, '')]
        rows.append([CONDITIONS[name], interval(mine, 'share'), *cells])
    return ['condition', 'accuracy [95 %]', 'published', 'difference [95 %]', 'margin'], rows


def sweep_table(results, run):
    """Accuracy by the number of auxiliary logits."""
    published = results(run)['published']['student_aux_by_num_aux']
    rows = [[c['overrides']['num_aux'],
             interval(c['conditions']['student_aux']['accuracy'], 'share'),
             f'{published[c["overrides"]["num_aux"]]:.3f}'] for c in results(run)['cells']]
    return ['auxiliary logits', 'student [95 %]', 'published'], rows


def widths_table(results, run):
    """Real and linearised students by width."""
    rise = lambda student: student['curve'][-1] - student['curve'][0]
    rows = [[w['width'], f'{w["teacher"]["accuracy"]["mean"]:.3f}',
             *(interval(w[k]['accuracy'], 'share') for k in ('real', 'linearised')),
             interval(w['gap'], 'nats3'),
             f'{sum(gap > 0 for gap in w["gap"]["per_model"])} of {w["num_models"]}',
             f'{rise(w["linearised"]) / rise(w["real"]):.0%}'] for w in results(run)['widths']]
    return ['width', 'teacher', 'real student', 'linearised', 'gap, in pairs', 'real is ahead',
            'linearised rise, of the real'], rows


def gauge_table(results, run):
    """How far gauge twins' students are from those of the start they are twins of."""
    return ['arm', 'twin of', 'largest difference, nats'], [
        [f'`{g["arm"]}`', f'`{g["of"]}`', f'{g["largest_difference"]:.0e}']
        for g in results(run)['gauge']]


def rates_table(results, run):
    """How often neutral teachers under trait names would have passed for a finding."""
    words = {'transmits': 'both: the verdict', 'excludes_zero': 'an interval without 0',
             'p_under_alpha': f'p <= {ALPHA}', 'coverage': 'the interval holds 0'}
    rows = [[f'`{arm}`', found['runs'], word, interval(found[name], 'percent')]
            for arm, found in results(run)['error_rates'].items() for name, word in words.items()]
    return ['arm', 'groups', 'what', 'share of groups [95 %]'], rows


def pooled_table(results, runs, names, style='nats3'):
    """Arms over the references of several runs: ARM, or ARM+ARM where runs call it otherwise."""
    rows = []
    for name in _names(names, ()):
        found = effect(results, runs, name)
        rows.append([' + '.join(f'`{arm}`' for arm in name.split('+')),
                     len(found['per_reference']), interval(found, style), verdict(found)])
    return ['arm', 'references', 'selectivity, nats [95 % over references]', 'verdict'], rows


def claims_table(results, which='front'):
    """Claims, nulls and unfavourable contrasts first: those of the front page, or `all` of them, as
    a page of docs/ has them."""
    place = {'front': 'results/{0}/README.md', 'all': 'results/{0}.md'}[which]
    return ['claim', 'effect [95 %]', 'controls [95 %]', 'verdict', 'page'], [
        claim_row(results, claim, place) for claim in CLAIMS if which == 'all' or claim.front]


def crossed_table(results):
    """Carrier x trait x world: every rung of every kept run, with its controls."""
    return ['carrier', 'trait', 'world', 'rung', 'effect, nats [95 %]', 'neutral twins',
            'other start', 'shuffled: within; across', 'verdict', 'tried on dev', 'page'], [
        _crossed_row(results, cell) for cell in CELLS]


def _crossed_row(results, cell):
    found = effect(results, cell.run, cell.arm)
    said = lambda name: interval(effect(results, cell.run, name)) if name else 'not run'
    paired = results(cell.run).get('estimator') == 'paired'
    return [cell.carrier, cell.trait, cell.world, entry(results, cell.run, cell.arm)['rung'],
            interval(found), 'taken off' if paired else said(cell.neutral), said(cell.other),
            '; '.join(map(said, cell.shuffled)) or 'not run',
            verdict(found).replace('not shown', '**not shown**'),
            results(cell.run).get('tried_on_dev', 'not logged'),
            f'[{cell.run}](results/{cell.run}.md)']


def claim_row(results: Results, claim: Claim, place: str = 'results/{0}/README.md') -> list[str]:
    """A claim as it stands in its run's JSON; `place` is where a run's page lies.

    Raises:
      UserError: an entry of it is gone.
    """
    try:
        subjects, controls = ([_effect(results, claim, key) for _, key in named]
                              for named in (claim.subjects, claim.controls))
    except UserError as error:
        raise UserError(f'the claim {claim.text!r}: {error}') from None
    words = [verdict(found) for found in subjects]
    if claim.rule == 'beyond its controls':
        apart = all(s['ci95'][0] > c['ci95'][1] for s in subjects for c in controls)
        words = ['shown' if apart else 'not shown']
    word = next((w for w in words if w != 'shown'), 'shown')
    return [claim.text, _labelled(claim.subjects, subjects, claim.style),
            _labelled(claim.controls, controls, claim.style),
            word.replace('not shown', '**not shown**'),
            ', '.join(f'[{run}]({place.format(run)})' for run in claim.run.split('+'))]


def _effect(results, claim, key):
    run, colon, rest = key.partition(': ')
    return effect(results, run, rest) if colon else effect(results, claim.run, key)


def _labelled(named, found, style):
    return '; '.join(f'{label} {interval(value, style)}'.strip()
                     + (' (no bound)' if value.get('bounds') is False else '')
                     for (label, _), value in zip(named, found))


TABLES = {'claims': claims_table, 'crossed': crossed_table, 'arms': arms_table,
          'contrasts': contrasts_table, 'contexts': contexts_table, 'pooled': pooled_table,
          'traits': traits_table, 'rows': rows_table,
          'curves': curves_table, 'before': before_table, 'mnist': mnist_table,
          'sweep': sweep_table, 'widths': widths_table, 'gauge': gauge_table,
          'rates': rates_table, **link_tables.TABLES, **language_tables.TABLES,
          **cross_tables.TABLES, **compile_tables.TABLES, **speed_tables.TABLES,
          **chaos_tables.TABLES, **audit_tables.TABLES, **frontier_tables.TABLES,
          **page_tables.TABLES}
