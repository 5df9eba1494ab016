"""The transmission page: the rung stands beside every figure."""

from subliminal_jax.report import transmission as report


def arm(name, objective, rung, start='shared', control=False):
    return {'name': name, 'objective': objective, 'rung': rung, 'teacher_kind': 'trait',
            'student_init': start, 'fields': {}, 'is_control': control,
            'evidence': objective not in ('kl', 'kl_top'),
            'alignment': {'predicted': [0.0, 1.0], 'measured': [0.1, 0.9]}}


def test_a_contrast_names_its_rung():
    table = report.contrast_table([{'name': 'kl less kl_other', 'rung': 'full KL', 'mde': 0.2,
                                    'estimate': 1.0, 'ci95': [0.5, 1.5], 'what': 'less'}])
    assert dict(zip(table.head, table.rows[0]))['rung'] == 'full KL'


def test_what_stands_beside_selectivity_is_a_table_of_its_own():
    found = {'estimate': 0.28, 'ci95': [0.06, 0.5]}
    arms = [{'name': 'kl', 'rung': 'carrier KL', 'effect': {
        **found, 'multiplicative': {'estimate': 0.2, 'ci95': [-0.1, 0.5]},
        'misfit': {'additive': 0.1234, 'multiplicative': 0.05}}},
        {'name': 'none', 'rung': 'carrier KL', 'effect': None}]
    table = report.fits_table(arms, [{'name': 'kl less its twins', 'estimate': 0.25,
                                      'ci95': [0.1, 0.4]}])
    row, = table.rows
    assert row[:2] == ['kl', 'carrier KL'] and row[4] == ''  # no arm of neutral teachers
    assert '0.25 [' in row[3] and '0.20 [' in row[5] and row[6:] == ['0.123', '0.050']


def test_a_contrast_that_bounds_nothing_says_why():
    table = report.contrast_table([{
        'name': 'kl less the matrix', 'rung': 'carrier KL', 'mde': None, 'estimate': 1.0,
        'ci95': [0.5, 1.5], 'what': 'less', 'why': 'an orientation'}])
    assert table.rows[0][-1] == 'less (an orientation)'


def test_the_alignment_plot_names_the_rungs_once():
    plot = report.alignment_plot([
        arm('sft', 'sft', 'sampled text'), arm('sft_body', 'sft', 'sampled text'),
        arm('sft_other', 'sft', 'sampled text', 'other', True), arm('kl', 'kl', 'full KL')])
    legend = plot.figure.axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [
        'sampled text', 'sampled text, controls', 'full KL']
