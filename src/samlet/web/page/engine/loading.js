const GZIP = [0x1f, 0x8b];

/**
 * Fetch a file, tell how far it is, and unpack it where it is gzip; some servers have unpacked it already.
 *
 * @param {string | URL} url
 * @param {(bytes: number) => void} [told] bytes that came
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function load(url, told = () => {}) {
  const response = await fetched(url);
  if (!response.body) throw new Error(`${url} is empty`);
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        told(chunk.byteLength);
        controller.enqueue(chunk);
      },
    }),
  );
  const bytes = new Uint8Array(await new Response(counted).arrayBuffer());
  return GZIP.every((value, i) => bytes[i] === value) ? unpack(bytes) : bytes;
}

/**
 * @param {string | URL} url
 * @returns {Promise<any>}
 */
export async function loadJson(url) {
  return (await fetched(url)).json();
}

/** @param {string | URL} url */
async function fetched(url) {
  const response = await fetch(url).catch(() => null);
  if (response?.ok) return response;
  const why = response ? `the server says ${response.status}` : 'there is no connection';
  throw new Error(`${new URL(url, location.href).pathname} cannot be fetched: ${why}`);
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
