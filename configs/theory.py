"""The theorem's grid in float64, and its inner products along a real student's training.

  python -m launch.run --config=configs/theory.py --workdir=runs/theory

To expect (seed 0; 993 cells of six seeds): in all 122 promised cells with A > 0 the sign holds for
every seed at eps = 1e-4 and L_T falls at eps = 1e-6. At eps = 1e-4 actual over predicted is off by
3.5e-5 in the median cell, by less than 1e-3 in all 92 smooth cells and in 26 of 30 with ReLU, whose
worst seed is 2.1e-2 off. Slopes of the remainder: 1.99 to 2.00, with the second-order term taken
off 2.99 to 3.01 (smooth); ReLU 2.00 before the first kink. Independent starts: positive in .50
[.34, .66]. Along training, Adam: mean cosine with the teacher's displacement +.165, the placebo's
+.018; the first order gives 100 % of the fall of L_T over the probed steps. About 5 minutes on two
cores (the first run compiles for one of them), 2.3 GB. A quick look:
--config.num_seeds=2 --config.models=mlp-gelu --config.training.num_models=0.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'theory'})
