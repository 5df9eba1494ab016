"""What a design could see and what it would cost, before anyone pays.

  python -m launch.plan --config=configs/NAME.py --mde=NATS [--spread=NATS | --run=DIR]
      [--max_hours=H] [--rate=TFLOPS | --topology=CARD:SHAPE] [--config.field=value ...]
  python -m launch.plan --config=configs/NAME.py --gate=DIR [--signal=3] ...

For transmission on pretrained weights: how many teachers make the smallest visible gamma (`mde`, at
config.power) as small as is wanted, with their rows, hours and gigabytes, and the least permutation
p that they can reach: designs that could not reach .05 whatever came out are left out. The spread
of gamma between teachers of a trait is taken from a finished run (--run), or assumed. With --gate
(a run whose gate was read): the rows, tokens and hours that sampled text takes until the effect is
so many standard errors. --topology takes the hours from the rooflines of the run's programs,
compiled for accelerators that need not be here (launch.compile).
"""

import contextlib

from absl import flags

from subliminal_jax.runs import UserError, run_program, use_compilation_cache

MDE = flags.DEFINE_float('mde', None, 'the gamma that the design should see, nats', lower_bound=0)
SPREAD = flags.DEFINE_float(
    'spread', 0.25, 'standard deviation of gamma between teachers, nats', lower_bound=0)
RUN = flags.DEFINE_string('run', '', 'a finished run whose spread is taken')
GATE = flags.DEFINE_string('gate', '', 'a finished run whose gate was read')
SIGNAL = flags.DEFINE_float('signal', 3.0, 'the wanted effect, in standard errors', lower_bound=0)
ARM = flags.DEFINE_string('arm', '', "the run's arm; by default the first")
MAX_HOURS = flags.DEFINE_float('max_hours', 24.0, 'what can be afforded', lower_bound=0)
RATE = flags.DEFINE_float(
    'rate', 0.0, 'TFLOP/s of one large matrix product, of which stages reach a share; 0: measured '
    'here', lower_bound=0)
TOPOLOGY = flags.DEFINE_string('topology', '', 'accelerators, as launch.compile has them')


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import config as configs, plan

    loaded = configs.load(config_arguments, EXPERIMENTS)
    design = loaded.experiment.design
    if design is None:
        raise UserError(f'the experiment {loaded.name} has no designs to choose from: take a '
                        'config of transmission with world=pretrained')
    if bool(MDE.value) == bool(GATE.value):
        raise UserError('which effect should the design see? Pass --mde=NATS, or --gate=DIR')
    if RATE.value and TOPOLOGY.value:
        raise UserError('--rate and --topology both say how fast it goes: pass one of them')
    if TOPOLOGY.value:
        from launch import ahead as programs_ahead
        from subliminal_jax.runs import ahead, platforms

        topology, found = programs_ahead.bounds(loaded, TOPOLOGY.value)
        pace, where = ahead.pace(found, topology), platforms.compiling_for(topology.platform)
        rate, paced = pace.rate, pace.of
    else:
        use_compilation_cache()
        rate, paced = RATE.value * 1e12 or plan.measured_rate(), list
        where = contextlib.nullcontext()
    with where:
        print(design(loaded.config, MDE.value, spread=SPREAD.value, run=RUN.value, arm=ARM.value,
                     gate=GATE.value, signal=SIGNAL.value, max_hours=MAX_HOURS.value, rate=rate,
                     paced=paced))


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
