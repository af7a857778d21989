#!/usr/bin/env bash
# samlet_s: MobileSAM with an encoder of a third of its cost. Not finished: recipes/README.md says how far it is.
#
#   recipes/samlet_s.sh PHOTOS OUT
#
# PHOTOS is a folder of photographs, OUT a new or continued folder. Every command continues where it was stopped.
set -euo pipefail
photos=$1 out=$2
mkdir -p "$out"
slim=(samlet slim --teacher mobile_sam --images "$photos" --image-size 512 --scoring-images 32 --precision bf16)

# Widths that were searched, channels by importance, refitting on many photographs.
[ -d "$out/refitted" ] || "${slim[@]}" --like samlet_s --procedure one-step --recovery-images 160 --steps 0 \
  --out "$out/refitted"

# Aligning, on four fixed views of each photograph, whose teacher embeddings are computed once.
"${slim[@]}" --stage align --student "$out/refitted" --views 4 --cache "$out/cache" --micro-batch 4 \
  --schedule constant --learning-rate 1.5e-4 --average 0.998 --steps "${STEPS:-20000}" --out "$out/aligned"
