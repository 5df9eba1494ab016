"""A student that is its network's first-order Taylor expansion, against the real one, by width.

  python -m launch.run --config=configs/theory_linearised.py --workdir=runs/theory_linearised

To expect (seed 0; three models a width, one at 2048), accuracy on the test digits of the real and
of the linearised student: .490, .291 at width 64; .512, .310 at 128; .413, .235 at 256; .424, .361
at 512; .225, .202 at 1024; .146, .155 at 2048. The real one is ahead in 14 of 16 pairs, by .124
[.067, .181]; a doubling of the width changes that by -.049 [-.075, -.022]. 10 min 50 s on two
cores, resumable model by model. A quick look: --config.widths=64,128,256 --config.num_seeds=1.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'theory_linearised'})
