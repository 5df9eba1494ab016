"""A student that is its network's first-order Taylor expansion, against the real one, by width.

  python -m launch.run --config=configs/theory_linearised.py --workdir=runs/theory_linearised

To expect (seed 0, widths 64 to 512 with three models, 1024 with one; 2048 was not run): accuracy on
the test digits, real against linearised student: .496, .289 at width 64; .503, .317 at 128; .395,
.235 at 256; .428, .356 at 512; .269, .195 at 1024. The real one is ahead in 12 of 13 pairs, by .150
[.094, .205] in the mean: the kernel picture gives about half of the rise above chance (46 to 78 %).
The default is meant for up to 25 minutes on two cores, resumable model by model. A quick look:
--config.widths=64,128,256 --config.num_seeds=1.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'theory_linearised'})
