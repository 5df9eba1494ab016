"""Runs a config over a grid of settings, each combination a run of its own, and joins them.

  python -m launch.sweep --config=configs/NAME.py --grid=FIELD=a,b,c [--grid=FIELD=x,y] \\
    --workdir=DIR [--config.FIELD=VALUE ...] [--workers=2] [--cluster=HOST:PORT]

Where values hold commas, semicolons part them: --grid="hidden_sizes=128,128;256,256". Each cell is
an ordinary run in DIR/cells/NAME, made by launch.run as a child process, with its log in DIR/logs.
Cells run under Ray (launch/setup.sh --with sweep): one of this program's own, on a cluster whose
nodes see the same folders, or with --cluster=none as children of this program without Ray. One
that is killed, or whose machine is lost, is started again and goes on where it was. The same
command goes on with a sweep that was killed: what is done is not run again. At the end DIR has
overview.html (the table, then every cell's report) and sweep.json; the table is printed.
"""

import pathlib
from collections.abc import Mapping, Sequence

from absl import flags

from launch import cells as parts, pools
from subliminal_jax.runs import UserError, local_path, run_program, write_json, write_text
from subliminal_jax.runs.workdir import locked

GRID = flags.DEFINE_multi_string('grid', [], 'a field and its values; once a field')
WORKDIR = flags.DEFINE_string('workdir', None, 'the folder of the sweep')
WORKERS = flags.DEFINE_integer('workers', 1, 'cells at a time on this machine', lower_bound=1)
RETRIES = flags.DEFINE_integer(
    'retries', 2, 'how often a cell that was killed or crashed is started again', lower_bound=0)
CLUSTER = flags.DEFINE_string(
    'cluster', pools.EMBEDDED, f'{pools.EMBEDDED}, the address of a Ray cluster (HOST:PORT, '
    f'ray://HOST:PORT, auto), or {pools.NONE}: without Ray')
CPUS = flags.DEFINE_float('cpus', 1.0, 'cores that a cell takes of a cluster', lower_bound=0)
GPUS = flags.DEFINE_float('gpus', 0.0, 'GPUs that a cell takes of a cluster', lower_bound=0)
METRICS = flags.DEFINE_list(
    'metrics', [], 'that each cell also writes, as of launch.run: tensorboard, wandb, mlflow')


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import sinks

    sinks.check(METRICS.value)
    if not WORKDIR.value:
        raise UserError('no folder for the sweep: pass --workdir=DIR')
    grid = parts.grid_of(GRID.value)
    if not grid:
        raise UserError('no grid: pass --grid=FIELD=VALUE,VALUE')
    folder = pathlib.Path(local_path('workdir', WORKDIR.value)).expanduser().resolve()
    found = parts.cells_of(config_arguments, grid, folder, EXPERIMENTS, METRICS.value)
    held = locked(folder)  # until the end
    done = {cell.name: parts.Outcome(cell.name, 'done', 'from before', 0) for cell in found
            if parts.is_done(cell)}
    left = [cell for cell in found if cell.name not in done]
    print(f'{len(found)} cells, {len(done)} of them from before, in {folder}')
    if left:
        pool = pools.children(WORKERS.value) if CLUSTER.value == pools.NONE else pools.ray_tasks(
            CLUSTER.value, WORKERS.value, CPUS.value, GPUS.value)
        done |= run(left, pool, RETRIES.value)
    join(folder, found, done)
    held.close()
    failed = [done[cell.name] for cell in found if done[cell.name].state != 'done']
    if failed:
        raise UserError(f'{len(failed)} of {len(found)} cells failed; the first, '
                        f'{failed[0].name}: {failed[0].line}; the same command tries them again')


def run(cells: Sequence[parts.Cell], pool: pools.Pool, retries: int) -> dict[str, parts.Outcome]:
    """Runs cells, with progress; outcomes by name."""
    from tqdm import tqdm

    found = {}
    with tqdm(total=len(cells), desc='cells', unit='cell') as bar:
        for outcome in pool(cells, retries):
            found[outcome.name] = outcome
            if outcome.state != 'done':
                bar.write(f'{outcome.name}: {outcome.line}')
            bar.set_postfix_str(outcome.name)
            bar.update()
    return found


def join(folder: pathlib.Path, cells: Sequence[parts.Cell],
         outcomes: Mapping[str, parts.Outcome]) -> None:
    """Writes sweep.json and overview.html, and prints the table."""
    from launch.overview import drawn
    from subliminal_jax.report import overview
    from subliminal_jax.report.page import Table, rendered

    heads, rows = parts.table_of(cells, outcomes)
    write_json(folder / 'sweep.json', {'heads': heads, 'rows': rows, 'cells': [
        {'name': cell.name, 'values': dict(cell.values), **outcomes[cell.name]._asdict()}
        for cell in cells]})
    reports = [drawn(pathlib.Path(cell.folder))._replace(title=cell.name) for cell in cells
               if outcomes[cell.name].state == 'done']
    table = rendered(Table('Cells', heads, rows, 'Each row is a run of its own. Brackets are '
                           "intervals, as each run's report defines them; nothing corrects for the "
                           'number of cells.'))
    write_text(folder / 'overview.html',
               overview.joined(f'A sweep of {len(cells)} cells', reports, table))
    print(parts.as_text(heads, rows))
    print(f'page: {folder / "overview.html"}')


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
