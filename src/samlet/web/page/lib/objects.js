/** What stands on a photograph: objects with prompts and masks. Every change is a new document. */
import { colourOf } from './colours.js';
import { NO_PROMPTS } from './prompts.js';

/**
 * @typedef {import('./types.js').Thing} Thing
 * @typedef {import('./types.js').Answer} Answer
 * @typedef {import('./types.js').Prompts} Prompts
 * @typedef {object} Objects
 * @property {readonly Thing[]} things
 * @property {number | null} active id of the object that prompts go to; null for a new one
 * @property {number} next id of the next object
 */

/** @type {Objects} */
export const NOTHING = Object.freeze({ things: Object.freeze([]), active: null, next: 1 });

/**
 * @param {Objects} objects
 * @returns {Thing | null}
 */
export function activeThing(objects) {
  return objects.things.find((thing) => thing.id === objects.active) ?? null;
}

/**
 * Another object for the prompts to come; of an id that is not there, a new one.
 * @param {Objects} objects
 * @param {number | null} id
 * @returns {Objects}
 */
export function activate(objects, id) {
  return { ...objects, active: objects.things.some((thing) => thing.id === id) ? id : null };
}

/**
 * The active object with other prompts and their answer; a new one where none is active.
 *
 * @param {Objects} objects
 * @param {Prompts} prompts
 * @param {Answer} answer
 * @param {number | null} output
 * @returns {Objects}
 */
export function answered(objects, prompts, answer, output) {
  const thing = activeThing(objects);
  if (thing) return replace(objects, { ...thing, prompts, answer, output });
  return added(objects, [{ prompts, answer, output }]);
}

/**
 * Objects with masks, all new; the last one becomes active if it is alone.
 *
 * @param {Objects} objects
 * @param {readonly {prompts?: Prompts, answer: Answer, output?: number | null}[]} found
 * @returns {Objects}
 */
export function added(objects, found) {
  const fresh = found.map((one, i) => {
    const id = objects.next + i;
    const { prompts = NO_PROMPTS, answer, output = null } = one;
    return { id, name: `object ${id}`, colour: colourOf(id), prompts, answer, output };
  });
  return {
    things: [...objects.things, ...fresh],
    active: fresh.length === 1 ? objects.next : null,
    next: objects.next + found.length,
  };
}

/**
 * @param {Objects} objects
 * @param {number} id
 * @param {string} name an empty one changes nothing
 * @returns {Objects}
 */
export function renamed(objects, id, name) {
  const thing = objects.things.find((one) => one.id === id);
  const wanted = name.trim();
  return thing && wanted && wanted !== thing.name ? replace(objects, { ...thing, name: wanted }) : objects;
}

/**
 * @param {Objects} objects
 * @param {number} id
 * @returns {Objects}
 */
export function removed(objects, id) {
  const things = objects.things.filter((thing) => thing.id !== id);
  return { ...objects, things, active: objects.active === id ? null : objects.active };
}

/**
 * @param {Objects} objects
 * @param {Thing} changed
 * @returns {Objects}
 */
function replace(objects, changed) {
  return { ...objects, things: objects.things.map((thing) => (thing.id === changed.id ? changed : thing)) };
}
