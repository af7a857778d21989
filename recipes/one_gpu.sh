#!/usr/bin/env bash
# Both models on one GPU in 25 minutes, about half of them for each. It continues where it was stopped.
#
#   recipes/one_gpu.sh PHOTOS MASKS OUT
#
# PHOTOS, MASKS and OUT as of samlet_s.sh and samlet_m.sh, which this runs. Where photographs have to be carried to the
# machine, scripts/pack_photographs.py makes them small. SAMLET_MINUTES is the time of all trainings together, PIXELS the
# side of the input and BATCH the photographs of a step: smaller ones try it on a CPU, with DEVICE=cpu.
set -euo pipefail
here=$(dirname "$0") minutes=${SAMLET_MINUTES:-20} pixels=${PIXELS:-1024} batch=${BATCH:-64}
share() { awk -v all="$minutes" -v part="$1" 'BEGIN { printf "--minutes %g", all * part }'; }
export DEVICE=${DEVICE:-cuda}
# Four times the learning rate of four photographs, for sixteen times as many: the square root, as is usual for Adam.
common="--image-size $pixels --batch-size $batch --micro-batch $((batch < 16 ? batch : 16))"
export SLIM_MORE="$common --learning-rate 6e-4 --average 0.99"
export DISTILL_MORE="$common --prompts $((4 * batch)) --learning-rate 2e-4"
ALIGN=$(share 0.3) COARSE=$(share 0.05) FINE=$(share 0.15) "$here/samlet_s.sh" "$1" "$2" "$3/s"
ALIGN=$(share 0.1) FINE=$(share 0.4) "$here/samlet_m.sh" "$1" "$2" "$3/m"
