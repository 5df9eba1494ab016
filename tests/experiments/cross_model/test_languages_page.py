"""The page of a matrix, from made-up cells: its pictures and tables, and what is unread on them."""

import pytest

from subliminal_jax.experiments.cross_model import (
    languages_cells as matrix,
    languages_hypotheses as hypotheses,
)
from subliminal_jax.report import cross_languages as report, page
from tests.experiments.transmission import small
from tests.experiments.transmission.planted import entry, rises

SIZES = {'text': 1.0, 'next': 0.2, 'digits': 0.0, 'to_digits': 0.3, 'noise': 0.4, 'noise_own': 0.8}
ARMS = ('text', 'next: start=next:1of2', 'digits: architecture=digits', 'to_digits: student=digits',
        'noise: start=noise:0.1', 'noise_own: start=noise:0.1 own=true')


@pytest.fixture(scope='module')
def made():
    """(cells, hypotheses) of a matrix in which models of digits do not transmit."""
    run = small.prepared(*ARMS, **{'language.references': 8})
    entries = [entry(run, arm, rises(run, 'trait', SIZES[arm.name], n, 0.05), floor=None)
               for n, arm in enumerate(run.arms)]
    cells = matrix.cells(run, entries)
    shares = {c['arm']: c for c in cells if c['measure'] == 'share'}
    said = hypotheses.parse(['one: all of it', 'two: none of it'], [
        'one: next=0.8..1.2 to_digits=0.8..1.2', 'two: next=-0.1..0.5'])
    return cells, hypotheses.judged(said, shares)


def drawn(plot):
    """The texts of a figure's panels."""
    return [t.get_text() for ax in plot.figure.axes for t in ax.texts]


def test_a_picture_has_a_cell_for_every_teacher_and_student(made):
    plots = {p.name: p for p in report.squares(made[0])}
    assert set(plots) == {'matrix_references', 'matrix_tokenisations'}
    assert len(drawn(plots['matrix_references'])) == 4
    assert sum('share 0.' in text for text in drawn(plots['matrix_references'])) == 2
    texts = drawn(plots['matrix_tokenisations'])
    assert sum('unread' in text for text in texts) == 1 and texts.count('not run') == 1


def test_the_tables_say_what_is_unread_and_why(made):
    cells, judged = made
    rows = {(row[0], row[3]): row for row in report.share_table(cells).rows}
    assert rows['to_digits', 'main'][7].startswith('unread: the diagonal of digits is ')
    own, share = (float(cell.split()[0]) for cell in rows['noise', 'reference'][6:8])
    assert own == pytest.approx(0.8, abs=0.05) and share == pytest.approx(0.5, abs=0.05)
    table = report.hypothesis_table(judged)
    assert table.rows[0][2].endswith('contradicted') and table.rows[1][1] == 'unread'
    assert 'one: all of it.' in table.note
    twin, = report.twin_table(cells).rows
    assert twin[0] == 'noise:0.1' and twin[3:] == ['5.00', '0.1000']
    assert len(report.cell_table(cells).rows) == sum(c['measure'] == 'gamma' for c in cells)


def test_pictures_are_drawn_on_one_page_that_a_phone_can_read(made, tmp_path):
    cells, judged = made
    (tmp_path / 'config.json').write_text('{}')
    sections = [*report.squares(cells), report.share_table(cells),
                report.shares_plot(cells, judged), report.hypothesis_table(judged),
                report.twin_plot(cells)]
    page.write(tmp_path, 'title', hypotheses.sentence(judged), sections, {
        'command': 'c', 'versions': {}, 'seeds': {}, 'timing': {}})
    text = (tmp_path / 'report.html').read_text()
    assert 'Contradicted: all of it (next 0.2' in text and 'width=device-width' in text
    for name in ('matrix_references', 'matrix_tokenisations', 'shares', 'twins'):
        assert (tmp_path / f'figures/{name}.png').stat().st_size > 0
