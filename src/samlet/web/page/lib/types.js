/**
 * The words that all modules share. Coordinates are pixels of the photograph, x before y.
 *
 * @typedef {{x: number, y: number, positive: boolean}} Click
 * @typedef {[number, number, number, number]} Box first corner x, y, then the opposite one
 * @typedef {{clicks: readonly Click[], box: Box | null}} Prompts
 *
 * @typedef {object} Answer
 * @property {Float32Array} lowRes logits of the chosen mask, rows × columns
 * @property {number} rows
 * @property {number} columns
 * @property {number} iou predicted
 * @property {number | null} output which of the three masks it is; null for another one
 *
 * @typedef {object} Thing an object on the photograph
 * @property {number} id
 * @property {string} name
 * @property {string} colour `#rrggbb`
 * @property {Prompts} prompts
 * @property {number | null} output which of the three masks was asked for; null for the page's own choice
 * @property {Answer | null} answer null while nothing was answered
 *
 * @typedef {object} Model what `model.json` says
 * @property {string} name
 * @property {string} samlet
 * @property {number} size side of the encoder's input, pixels
 * @property {number} stride of the coarsest map
 * @property {'longest_side' | 'stretch' | 'stretch_antialiased'} resize
 * @property {number[]} mean of RGB in 0…255
 * @property {number[]} std
 * @property {number} threshold logit from which a pixel belongs to a mask
 * @property {'iou' | 'stability'} score
 * @property {'first' | 'stable' | 'none'} single which output answers prompts that are not ambiguous: the first, the first
 *   where it is stable, or none of its own
 * @property {string[]} embedding names of the maps
 * @property {string} weights how they are stored
 * @property {number} agreement
 * @property {number} everything_iou
 * @property {{file: string, photograph: string, click: [number, number], shape: number[]}} reference
 */
export {};
