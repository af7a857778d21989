/**
 * A photograph from the camera.
 *
 * @param {{dialog: HTMLDialogElement, video: HTMLVideoElement, take: HTMLElement, close: HTMLElement}} parts
 * @param {(blob: Blob, name: string) => void} pick
 * @returns {() => Promise<void>} opens the camera; fails where there is none or it is not allowed
 */
export function camera(parts, pick) {
  /** @type {MediaStream | null} */
  let stream = null;
  parts.close.addEventListener('click', () => parts.dialog.close());
  parts.dialog.addEventListener('close', () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    parts.video.srcObject = null;
  });
  parts.take.addEventListener('click', async () => {
    const canvas = document.createElement('canvas');
    canvas.width = parts.video.videoWidth;
    canvas.height = parts.video.videoHeight;
    canvas.getContext('2d')?.drawImage(parts.video, 0, 0);
    parts.dialog.close();
    canvas.toBlob((blob) => blob && pick(blob, 'camera.png'));
  });
  return async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' }, audio: false });
    } catch {
      throw new Error('there is no camera here, or it is not allowed; open a file instead');
    }
    parts.video.srcObject = stream;
    parts.dialog.showModal();
    await parts.video.play();
  };
}
