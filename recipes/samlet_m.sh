#!/usr/bin/env bash
# samlet_m: SAM 2 Hiera-T with an encoder of a third of its cost. Every command continues where it was stopped.
#
#   recipes/samlet_m.sh PHOTOS MASKS OUT
#
# PHOTOS is a folder of photographs; for samlet_m, 1,000 of ImageNet and the 200 training photographs of BSDS500. MASKS is
# not read: it is here so that all recipes are called alike. OUT is a new folder, or one to continue.
#
# TEACHER is a file of SAM 2 Hiera-T; without it, it is downloaded. DEVICE and SLIM_MORE as of samlet_s.sh; ALIGN and FINE
# say how long the two trainings are.
set -euo pipefail
photos=$1 out=$3
teacher=${TEACHER:-sam2_hiera_tiny}
mkdir -p "$out"
read -ra more <<<"--precision auto --device ${DEVICE:-cpu}"
read -ra slim_more <<<"${SLIM_MORE:-}"
read -ra align <<<"${ALIGN:---steps 1050}"
read -ra fine <<<"${FINE:---steps 140}"
slim=(samlet slim --teacher "$teacher" --images "$photos" "${more[@]}")
made() { [ -f "$1/provenance.json" ]; }

# 1. Widths are searched for the budget, channels ranked, and layers refitted on many photographs. No training.
made "$out/refitted" || "${slim[@]}" --macs 0.345 --image-size 512 --procedure one-step --recovery-images 96 \
  "${slim_more[@]}" --steps 0 --out "$out/refitted"

# 2. Aligning with the teacher's embeddings, which are computed once: at 512 px, on two fixed views of each photograph,
#    then at 1024 px. (There samlet_m saw 376 of them, at a rate that rose from 0 to 1e-4. At 1.5e-4 it became worse.)
aligning=("${slim[@]}" --stage align --cache "$out/cache" --scoring-images 32)
made "$out/coarse" || "${aligning[@]}" --student "$out/refitted" --image-size 512 --views 2 --micro-batch 4 \
  --schedule constant --learning-rate 1.5e-4 --average 0.998 "${slim_more[@]}" "${align[@]}" --out "$out/coarse"
made "$out/samlet_m" || "${aligning[@]}" --student "$out/coarse" --image-size 1024 --views 1 --micro-batch 2 \
  --schedule constant --learning-rate 7e-5 --average 0.99 "${slim_more[@]}" "${fine[@]}" --out "$out/samlet_m"

# 3. The file of the package, and how good it is:
#      python scripts/embed_samlet.py OUT/samlet_m --name samlet_m --from "…" --views N
#      python benchmarks/first_page.py
