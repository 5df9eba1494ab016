"""A student that is its network's first-order Taylor expansion, against the real one, by width.

  python -m launch.run --config=configs/theory_linearised.py --workdir=runs/theory_linearised

To expect: see the README; up to 25 minutes on two cores, resumable model by model. A quick look:
--config.widths=64,128,256 --config.num_seeds=1.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'theory_linearised'})
