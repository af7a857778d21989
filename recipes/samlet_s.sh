#!/usr/bin/env bash
# samlet_s: MobileSAM with an encoder of a third of its cost. Every command continues where it was stopped.
#
#   recipes/samlet_s.sh PHOTOS MASKS OUT
#
# PHOTOS is a folder of photographs. MASKS has masks for photographs, as an SA-1B folder (ID.jpg beside ID.json) or a
# COCO file. OUT is a new folder, or one to continue. For samlet_s, PHOTOS were 1,000 photographs of ImageNet and the 200
# training photographs of BSDS500; MASKS were BSDS500's own, and those of SAM 2 Hiera-T for 647 photographs of ImageNet.
#
# DEVICE=cuda runs it on a GPU. ALIGN, COARSE and FINE say how long the three trainings are, of four photographs a step:
# "--steps 10000", or "--minutes 30". SLIM_MORE and DISTILL_MORE have further options of the two commands, which win.
# one_gpu.sh sets them for a GPU.
set -euo pipefail
photos=$1 masks=$2 out=$3
mkdir -p "$out"
read -ra more <<<"--precision auto --device ${DEVICE:-cpu}"
read -ra slim_more <<<"${SLIM_MORE:-}"
read -ra distill_more <<<"${DISTILL_MORE:-}"
read -ra align <<<"${ALIGN:---steps 10000}"
read -ra coarse <<<"${COARSE:---steps 300}"
read -ra fine <<<"${FINE:---steps 240}"
slim=(samlet slim --teacher mobile_sam --images "$photos" --image-size 512 --scoring-images 32 "${more[@]}")
made() { [ -f "$1/provenance.json" ]; }

# 1. Widths that were searched, channels by importance, and refitting on many photographs. No training.
made "$out/refitted" || "${slim[@]}" --like samlet_s --procedure one-step --recovery-images 160 "${slim_more[@]}" --steps 0 \
  --out "$out/refitted"

# 2. Aligning with MobileSAM's embeddings, on four fixed views of each photograph. They are computed once.
made "$out/aligned" || "${slim[@]}" --stage align --student "$out/refitted" --views 4 --cache "$out/cache" \
  --micro-batch 4 --schedule constant --learning-rate 1.5e-4 --average 0.998 "${slim_more[@]}" "${align[@]}" \
  --out "$out/aligned"

# 3. Distillation from the masks alone, first at 512 and then at 1024 px. The teacher is not asked: the masks are better
#    than its own. The last command puts predicted IoU and stability on MobileSAM's scale again.
distill=(samlet distill --teacher mobile_sam --data "$masks" --prompts 16 --rounds 1 --learning-rate 5e-5
  --embedding-weight 0 --token-weight 0 --output-weight 0 --no-hard-masks "${more[@]}")
made "$out/coarse" || "${distill[@]}" --student "$out/aligned" --image-size 512 --micro-batch 4 \
  "${distill_more[@]}" "${coarse[@]}" --out "$out/coarse"
made "$out/samlet_s" || "${distill[@]}" --student "$out/coarse" --image-size 1024 --micro-batch 2 --calibrate 32 \
  "${distill_more[@]}" "${fine[@]}" --out "$out/samlet_s"

# 4. The file of the package, and how good it is:
#      python scripts/embed_samlet.py OUT/samlet_s --name samlet_s --from "…" --views N
#      python benchmarks/first_page.py
