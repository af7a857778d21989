declare module '*/runtime/ort.wasm.mjs' {
  export * from 'onnxruntime-web';
}
