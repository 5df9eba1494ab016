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


def test_the_alignment_plot_names_the_rungs_once():
    plot = report.alignment_plot([
        arm('sft', 'sft', 'sampled text'), arm('sft_body', 'sft', 'sampled text'),
        arm('sft_other', 'sft', 'sampled text', 'other', True), arm('kl', 'kl', 'full KL')])
    legend = plot.figure.axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == [
        'sampled text', 'sampled text, controls', 'full KL']
