"""Fails unless a small MNIST run shows the effect and its controls: check_mnist.py results.json."""

import json
import pathlib
import sys

results = json.loads(pathlib.Path(sys.argv[1]).read_text())
conditions = results['conditions']
mean = {name: entry['accuracy']['mean'] for name, entry in conditions.items()}
placebo = conditions['placebo']
checks = {
    'the teachers learn': mean['teacher'] > 0.88,
    'students of auxiliary logits learn': mean['student_aux'] > 0.25,
    'students of all logits learn': mean['student_all'] > 0.75,
    'another start learns nothing through auxiliary logits': mean['cross_aux'] < 0.2,
    'untrained models know nothing': mean['reference'] < 0.2,
    'the placebo scores by its own labels': placebo['permuted_accuracy']['mean'] > 0.25,
    'and not by the true ones': mean['placebo'] < 0.2,
    'the verdict says so': 'learns digits' in results['verdict'],
}
for claim, holds in checks.items():
    print(f'{"ok  " if holds else "FAIL"} {claim}')
sys.exit(0 if all(checks.values()) else 1)
