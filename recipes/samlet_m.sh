#!/usr/bin/env bash
# samlet_m: SAM 2 Hiera-T with an encoder of a third of its cost. Every command continues where it was stopped.
#
#   recipes/samlet_m.sh PHOTOS MASKS OUT
#
# PHOTOS is a folder of photographs. MASKS has masks for photographs, as an SA-1B folder (ID.jpg beside ID.json) or a
# COCO file. OUT is a new folder, or one to continue.
#
# TEACHER is a file of SAM 2 Hiera-T; without it, it is downloaded. The other settings are those of samlet_s.sh.
set -euo pipefail
photos=$1 masks=$2 out=$3
teacher=${TEACHER:-sam2_hiera_tiny}
mkdir -p "$out"
read -ra more <<<"--precision auto --device ${DEVICE:-cpu}"
read -ra slim_more <<<"${SLIM_MORE:-}"
read -ra distill_more <<<"${DISTILL_MORE:-}"
read -ra align <<<"${ALIGN:---steps 2000}"
read -ra fine <<<"${FINE:---steps 300}"
slim=(samlet slim --teacher "$teacher" --images "$photos" --image-size 512 "${more[@]}")
made() { [ -f "$1/provenance.json" ]; }

# 1. Widths are searched for the budget, channels ranked, and layers refitted on many photographs. No training.
made "$out/refitted" || "${slim[@]}" --macs 0.345 --procedure one-step --recovery-images 96 "${slim_more[@]}" \
  --steps 0 --out "$out/refitted"

# 2. Aligning with the teacher's embeddings, on two fixed views of each photograph. They are computed once.
made "$out/aligned" || "${slim[@]}" --stage align --student "$out/refitted" --views 2 --cache "$out/cache" \
  --scoring-images 32 --micro-batch 4 --schedule constant --learning-rate 1.5e-4 --average 0.998 \
  "${slim_more[@]}" "${align[@]}" --out "$out/aligned"

# 3. Distillation from masks alone, at 1024 px. It also puts predicted IoU and stability on the teacher's scale again.
made "$out/samlet_m" || samlet distill --teacher "$teacher" --data "$masks" --student "$out/aligned" \
  --image-size 1024 --prompts 16 --rounds 1 --boxes 0.4 --micro-batch 2 --learning-rate 5e-5 --embedding-weight 0 \
  --token-weight 0 --output-weight 0 --no-hard-masks --calibrate 32 "${more[@]}" "${distill_more[@]}" "${fine[@]}" \
  --out "$out/samlet_m"

# 4. The file of the package, and how good it is:
#      python scripts/embed_samlet.py OUT/samlet_m --name samlet_m --from "…" --views N
#      python benchmarks/first_page.py
