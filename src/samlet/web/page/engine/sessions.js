import { load } from './loading.js';

/**
 * @typedef {typeof import('onnxruntime-web')} Ort
 * @typedef {'WebAssembly' | 'WebGPU'} Kind
 *
 * @typedef {object} Sessions the two graphs of the model, ready to run
 * @property {import('onnxruntime-web').InferenceSession} encoder
 * @property {import('onnxruntime-web').InferenceSession} decoder
 * @property {Ort['Tensor']} Tensor
 * @property {Kind} kind of what runs the encoder; the decoder is WebAssembly's in any case, whose answers wait for no GPU
 * @property {number} threads of WebAssembly
 * @property {() => Promise<Sessions>} plain the same with the encoder in WebAssembly
 */

const MOST_THREADS = 4;
/** @type {Record<Kind, {script: string, binary: string, provider: 'wasm' | 'webgpu'}>} */
const RUNTIMES = {
  WebAssembly: { script: '../runtime/ort.wasm.mjs', binary: 'runtime/ort.wasm.gz', provider: 'wasm' },
  WebGPU: { script: '../runtime/ort.webgpu.mjs', binary: 'runtime/ort.webgpu.gz', provider: 'webgpu' },
};

/** How many threads WebAssembly may use: one where the page is not cross-origin isolated. */
export function threadsHere() {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

/**
 * What could run the encoder: WebGPU on a real GPU, in browsers that let WebAssembly wait for it, else WebAssembly.
 * @returns {Promise<Kind>}
 */
export async function kindHere() {
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu || !('Suspending' in WebAssembly)) return 'WebAssembly';
  const adapter = await gpu.requestAdapter().catch(() => null);
  return adapter && !adapter.info?.isFallbackAdapter ? 'WebGPU' : 'WebAssembly';
}

/**
 * Fetch runtime and graphs at the same time, then open them.
 *
 * @param {URL} base of the page
 * @param {Kind} kind
 * @param {number} threads
 * @param {(bytes: number) => void} told
 * @returns {Promise<Sessions>}
 */
export async function openSessions(base, kind, threads, told) {
  const { script, binary, provider } = RUNTIMES[kind];
  /** @type {Ort} */
  const ort = await import(script);
  const [runtime, encoderGraph, decoderGraph] = await Promise.all(
    [binary, 'model/encoder.onnx.gz', 'model/decoder.onnx.gz'].map((name) => load(new URL(name, base), told)),
  );
  ort.env.wasm.wasmBinary = runtime.buffer;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  /** @param {Uint8Array} graph @param {'wasm' | 'webgpu'} on */
  const open = (graph, on) =>
    ort.InferenceSession.create(graph, {
      executionProviders: [on],
      graphOptimizationLevel: 'all',
      // Weights become float32 once, when the graph is opened.
      extra: { session: { disable_quant_qdq: '1' } },
    });
  const decoder = await open(decoderGraph, 'wasm');
  const { Tensor } = ort;
  const plain = async () => {
    /** @type {Sessions} */
    const sessions = { encoder: await open(encoderGraph, 'wasm'), decoder, Tensor, kind: 'WebAssembly', threads, plain };
    return sessions;
  };
  if (provider === 'wasm') return plain();
  return { encoder: await open(encoderGraph, provider), decoder, Tensor, kind, threads, plain };
}
