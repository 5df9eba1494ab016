#!/usr/bin/env bash
# Strikes four programs with a hundred signals, and keeps a table of what came of it.
#
#   launch/chaos.sh [FOLDER [SIGNALS]]     (default: runs/chaos 25, SIGNALS of each program)
#
# FOLDER/table.jsonl gets a row a program: signals, runs, and the entries that differ from a run which
# was left alone (none, or this stops there). A program that has ended is left out, so that the same
# command goes on with the others; one that was stopped halfway has to be deleted first (its folder).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-runs/chaos} signals=${2:-25}
python="${SUBLIMINAL_JAX_VENV:-.venv}/bin/python"
mkdir -p "$folder"

strike() {
  local name=$1; shift
  [ -e "$folder/$name/chaos.json" ] && return
  echo "$name"
  "$python" -m launch.chaos "$@" --kills="$signals" --workdir="$folder/$name" \
    --table="$folder/table.jsonl"
}

small=(--config.language.references=2 --config.language.width=16 --config.language.ffn_width=32
  --config.language.num_heads=2 --config.language.steps=100 --config.language.corpus_rows=2000
  --config.teacher.steps=4 --config.teacher.neutral_steps=8 --config.carrier.min_kept=0
  --config.carrier.attempts=1 --config.carrier.spare=1.5 --config.carrier.probe=16
  --config.carrier.dose_rows=16 --config.carrier.min_tokens=1 --config.student.rows=16
  --config.student.marks= --config.student.batch_size=8 --config.student.align_rows=8)

strike mnist --config=configs/mnist.py --config.num_models=2 --config.teacher.epochs=1 \
  --config.student.epochs=1
strike numbers --config=configs/numbers_tiny_demo.py "${small[@]}" \
  --config.arms="sft: answers=constrained,sft_other: answers=constrained start=other"
strike theory --config=configs/theory.py --config.num_seeds=2 --config.models=mlp-gelu \
  --config.training.num_models=0
strike detection --config=configs/detection_tiny.py --config.split=dev --config.traits=2 \
  --config.arms="sft: answers=constrained,sft_neutral: answers=constrained teachers=neutral" \
  "${small[@]}" --config.teacher.seeds=2 --config.detection.bags=1,4 \
  --config.detection.verdict_bag=4 --config.detection.questions=2 --config.detection.contexts=2 \
  --config.detection.prefix_bags=2 --config.detection.prefix_columns=2 \
  --config.detection.prefix_steps=2 --config.detection.random_directions=2 \
  --config.detection.matched_rows=2 --config.detection.blind_pairs=5
cat "$folder/table.jsonl"
