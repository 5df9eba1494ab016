"""The table of what launch.compile has found, from its kept JSON."""

from launch.entries import Results, entry


def compiled_table(results: Results, run: str, programs: str = ''):
    """Config x topology x program: whether it fits, and what binds it.

    Args:
      results: by run.
      run: kept from launch.compile --output.
      programs: beginnings of their names, joined by commas; all if empty.
    """
    rows, wanted = [], tuple(name.strip() for name in programs.split(',')) if programs else ('',)
    for config, topologies in entry(results, run, 'configs').items():
        for topology, found in topologies.items():
            for name, value in found.items():
                if not name.startswith(wanted):
                    continue
                held = value['gigabytes']
                size = (f'{held:.2f}' if held else 'more') + f' of {value["available"]:.1f}'
                if not value['milliseconds']:
                    rows.append([f'`{config}`', topology, name, size, '**no**', '', '', '', ''])
                    continue
                flops = sum(value['teraflops'].values())
                rows.append([
                    f'`{config}`', topology, name, size, 'yes' if value['fits'] else '**no**',
                    f'{flops:.4g}', f'{value["moved"]:.4g}', f'{value["sent"]:.4g}',
                    f'{value["roofline"]:.3g} a {value["unit"]}, {value["binds"]}'])
    return ['config', 'topology', 'program', 'GB a device', 'fits', 'TFLOP', 'GB moved', 'GB sent',
            'ms at least, and what binds'], rows


TABLES = {'compiled': compiled_table}
