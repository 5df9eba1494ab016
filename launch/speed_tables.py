"""Tables of speed, beside PyTorch and over virtual devices, from what benchmarks have kept."""

from typing import Any

from launch.entries import Results, entry

# What a row is, its unit, and the least that is aimed at: ratio to PyTorch, share of the rate.
ENTRIES = {
    'train_full': ("a student's step, all weights", 'rows/s', 1.15, 0.85),
    'train_lora': ("a student's step, four LoRA of r = 8", 'rows/s', 1.5, 0.80),
    'sample_total': ('sampling, prefill included', 'new tokens/s', None, 0.80),
    'sample_shared': ('sampling, two thirds of a prompt shared', 'new tokens/s', None, 0.80),
    'decode_only': ('sampling without prefill', 'new tokens/s', None, None),
    'load_s': ('loading the model', 's', None, None),
    'peak_mb': ('memory of sampling', 'MB', None, None),
    'mnist_table': ('MNIST, teachers and students', 'tables an hour', None, 0.90),
    'mnist_peak_mb': ('its memory', 'MB', None, None),
}


def speed_table(results: Results, run: str) -> tuple[list[str], list[list[Any]]]:
    """A line an entry: both sides' medians and ranges, their ratio, and what was aimed at."""
    kept = entry(results, run, 'benchmarks').values()
    found_by_name = {name: found for bench in kept for name, found in bench.items()}
    rows = []
    for name, (what, unit, ratio, share) in ENTRIES.items():
        if (found := found_by_name.get(name)) is None:
            continue
        rate = found['fraction_of_sgemm']
        aims = [f'{kind} {aim:.2f}: {"met" if got is not None and got >= aim else "**no**"}'
                for kind, aim, got in (('ratio', ratio, found['ratio']), ('share', share, rate))
                if aim is not None]
        rows.append([what, unit, _spread(found, 'ours'), _spread(found, 'torch'),
                     f'{found["ratio"]:.3f}', '' if rate is None else f'{rate:.3f}',
                     '; '.join(aims)])
    return ['what', 'unit', 'here [range]', 'PyTorch [range]', 'ratio, above 1 is better here',
            "of numpy's matrix rate", 'aim'], rows


def mesh_table(results: Results, run: str) -> tuple[list[str], list[list[Any]]]:
    """A line a layout over virtual devices: seconds a step, beside one device's, and memory."""
    rows = [[f'`{layout}`' if ':' in layout else layout,
             '{:.3g} [{:.3g}, {:.3g}]'.format(found['seconds'], *found['range']),
             f'{found["ratio"]:.2f}', f'{found["held_mb"]:.1f}']
            for layout, found in entry(results, run, 'benchmarks/mesh').items()]
    return ['mesh', 'seconds a step [range]', "of one device's", 'MB that a device holds'], rows


def _spread(found: dict[str, Any], side: str) -> str:
    digits = lambda x: f'{x:,.0f}' if x >= 1000 else f'{x:.3g}'
    low, high = found[f'{side}_range']
    middle = digits(found[side])
    return middle if low == high else f'{middle} [{digits(low)}, {digits(high)}]'


TABLES = {'speed': speed_table, 'meshed': mesh_table}
