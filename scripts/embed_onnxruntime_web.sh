#!/usr/bin/env bash
# Puts the browser runtime of `samlet web` into the package: onnxruntime-web from npm, pinned, its licence beside it.
#
#   scripts/embed_onnxruntime_web.sh
#
# Needs npm. The WebAssembly files are compressed without a time stamp, so that the same version gives the same bytes.
set -euo pipefail
version=1.30.0
cd "$(dirname "$0")/.."
target=src/samlet/web/runtime
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "onnxruntime-web@$version" && tar xzf "onnxruntime-web-$version.tgz")
dist=$work/package/dist
mkdir -p "$target"
rm -f "$target"/*.mjs "$target"/*.gz
# Two builds: WebAssembly alone, and one that has WebGPU too, for browsers with a GPU and JavaScript promise integration.
cp "$dist/ort.wasm.bundle.min.mjs" "$target/ort.wasm.mjs"
cp "$dist/ort.jspi.bundle.min.mjs" "$target/ort.webgpu.mjs"
gzip --no-name --best --stdout "$dist/ort-wasm-simd-threaded.wasm" >"$target/ort.wasm.gz"
gzip --no-name --best --stdout "$dist/ort-wasm-simd-threaded.jspi.wasm" >"$target/ort.webgpu.gz"
sed --in-place '/^\/\/# sourceMappingURL=/d' "$target"/*.mjs
printf '%s\n' "$version" >"$target/VERSION"
