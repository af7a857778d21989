import * as ort from '../runtime/ort.wasm.mjs';
import { load } from './loading.js';

const MOST_THREADS = 4;

/**
 * The two graphs of the model, ready to run.
 *
 * @typedef {object} Sessions
 * @property {ort.InferenceSession} encoder
 * @property {ort.InferenceSession} decoder
 * @property {number} threads
 */

/** How many threads WebAssembly may use: one where the page is not cross-origin isolated. */
export function threadsHere() {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

/**
 * Fetch runtime and graphs at the same time, then open them.
 *
 * @param {URL} base of the page
 * @param {number} threads
 * @param {(bytes: number) => void} told
 * @returns {Promise<Sessions>}
 */
export async function openSessions(base, threads, told) {
  const [runtime, encoder, decoder] = await Promise.all(
    ['runtime/ort.wasm.gz', 'model/encoder.onnx.gz', 'model/decoder.onnx.gz'].map((name) =>
      load(new URL(name, base), told),
    ),
  );
  ort.env.wasm.wasmBinary = runtime.buffer;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  return { encoder: await open(encoder), decoder: await open(decoder), threads };
}

/** @param {Uint8Array} graph */
function open(graph) {
  return ort.InferenceSession.create(graph, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
    // Weights become float32 once, when the graph is opened.
    extra: { session: { disable_quant_qdq: '1' } },
  });
}

export const { Tensor } = ort;
