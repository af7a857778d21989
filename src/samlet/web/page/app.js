/** The page: its parts, and what each button does. */
import { Client } from './engine/client.js';
import { Workspace } from './engine/workspace.js';
import { camera } from './ui/camera.js';
import { listenToKeys } from './ui/keyboard.js';
import { keepAll, startOffline } from './ui/offline.js';
import { Panel } from './ui/panel.js';
import { decode, listenToFiles, showGallery } from './ui/photographs.js';
import { Pointer } from './ui/pointer.js';
import { save } from './ui/saving.js';
import { Stage } from './ui/stage.js';
import { describe, say, showTimes } from './ui/status.js';
import { startTheme } from './ui/theme.js';

const FIRST = 'dogs';
/** @type {Record<string, string>} what to do where everything mode finds nothing, by how sure masks must be */
const HINTS = {
  sure: ' The model is not as sure of its masks: choose “likely” or “any”.',
  likely: ' The model is not as sure of its masks: choose “any”.',
};
const KEEP_AFTER = 1500; // milliseconds after the first photograph is encoded

/**
 * A part of the page, as the kind of element that the caller knows it to be.
 * @param {string} id
 * @returns {any}
 */
function part(id) {
  return document.getElementById(id);
}

/** @type {import('./ui/pointer.js').Tool} */
let tool = 'add';

/** @param {string} text @param {boolean} [isError] */
const tell = (text, isError) => say(part('message'), text, isError);

/** @param {Promise<unknown>} work whose failure is told */
const watch = (work) => work.catch((error) => tell(error.message, true));

/** @param {import('./ui/pointer.js').Tool} chosen */
function pickTool(chosen) {
  tool = chosen;
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.setAttribute('aria-checked', String(/** @type {HTMLElement} */ (button).dataset.tool === chosen));
  }
}

async function openModel() {
  const { first_load_bytes: total } = await (await fetch('files.json')).json();
  const client = new Client(new Worker(new URL('engine/worker.js', import.meta.url), { type: 'module' }));
  const bar = part('loading-bar');
  const base = new URL('.', document.baseURI).href;
  const opened = await client.call('open', { base, ...asked() }, ({ bytes }) => {
    bar.setAttribute('value', String(Math.min(1, bytes / total)));
    part('loading-text').textContent = `Fetching the model, ${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    if (bytes >= total * 0.98) part('loading-text').textContent = 'Opening the model…';
  });
  return { client, ...opened };
}

/** `?threads=1` or `?backend=WebGPU` in the address, to compare. */
function asked() {
  const query = new URLSearchParams(location.search);
  const backend = query.get('backend');
  return {
    threads: Number(query.get('threads')) || null,
    backend: backend === 'WebGPU' || backend === 'WebAssembly' ? backend : null,
  };
}

/** @param {Workspace} workspace */
function report(workspace) {
  const thing = workspace.active;
  const { things } = workspace.objects;
  if (!thing?.answer) {
    tell(things.length ? `${things.length} objects. The next click starts another.` : 'Click on something to cut it out.');
    return;
  }
  const share = (100 * workspace.share(thing)).toFixed(1);
  tell(`${thing.name}: ${share} % of the photograph, predicted quality ${thing.answer.iou.toFixed(2)}.`);
}

/** @param {Workspace} workspace */
function updateButtons(workspace) {
  const { history, objects, encoded } = workspace;
  /** @type {[string, boolean][]} */
  const states = [
    ['undo', history.canUndo],
    ['redo', history.canRedo],
    ['new', objects.active !== null],
    ['other', Boolean(workspace.active?.prompts.clicks.length || workspace.active?.prompts.box)],
    ['everything', encoded],
  ];
  for (const [id, enabled] of states) part(id).toggleAttribute('disabled', !enabled);
  for (const button of document.querySelectorAll('[data-save]')) {
    button.toggleAttribute('disabled', objects.things.length === 0);
  }
}

/** @param {Workspace} workspace */
async function findEverything(workspace) {
  const side = Number(part('density').value);
  part('everything-running').hidden = false;
  part('everything').toggleAttribute('disabled', true);
  try {
    const { count, prompts, stopped, milliseconds } = await workspace.everything(side, part('sureness').value, ({ done, of }) => {
      part('everything-bar').setAttribute('value', String(done / of));
      part('everything-text').textContent = `${done} of ${of} clicks`;
    });
    const how = `${prompts} clicks, ${(milliseconds / 1000).toFixed(1)} s`;
    const hint = count || stopped ? '' : HINTS[part('sureness').value];
    tell(`${stopped ? 'Cancelled: ' : ''}${count} ${count === 1 ? 'object' : 'objects'} found (${how}).${hint ?? ''}`);
  } finally {
    part('everything-running').hidden = true;
    updateButtons(workspace);
  }
}

function showHelp() {
  part('help-dialog').showModal();
}

async function start() {
  startTheme(part('theme'));
  pickTool('add');
  part('help').addEventListener('click', showHelp);
  if ((await startOffline()) === 'reloading') return;

  const opening = openModel();
  /** @type {Promise<Workspace>} */
  const ready = opening.then(({ client, model, backend, times }) => {
    const workspace = new Workspace(client, model);
    workspace.note(times);
    const { head, note } = describe(backend, model);
    part('backend').textContent = head;
    part('note').textContent = note;
    return workspace;
  });
  ready.catch(() => {});

  /** @type {Blob | null} the photograph asked for last */
  let wanted = null;
  /** @param {Blob} blob @param {string} name */
  const openPhotograph = async (blob, name) => {
    wanted = blob;
    const { photograph, note } = await decode(blob, name);
    const workspace = await ready;
    if (wanted !== blob) return;
    for (const button of part('gallery').children) {
      button.setAttribute('aria-current', String(/** @type {HTMLElement} */ (button).dataset.name === name));
    }
    tell(`Looking at ${name}…`);
    await workspace.setPhotograph(photograph);
    if (wanted === blob) tell(note || `${name} is ready. Click on something to cut it out.`, false);
  };
  /** @param {URL} url @param {string} name */
  const openUrl = async (url, name) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${name} cannot be fetched`);
    await openPhotograph(await response.blob(), name);
  };
  listenToFiles(part('file'), part('drop'), (blob, name) => watch(openPhotograph(blob, name)));
  part('open').addEventListener('click', () => part('file').click());
  const openCamera = camera(
    {
      dialog: part('camera-dialog'),
      video: part('camera-video'),
      take: part('camera-take'),
      close: part('camera-close'),
    },
    (blob, name) => watch(openPhotograph(blob, name)),
  );
  part('camera').addEventListener('click', () => watch(openCamera()));
  await showGallery(part('gallery'), (url, name) => watch(openUrl(url, name)));
  const first = watch(wanted ? Promise.resolve() : openUrl(new URL(`photos/${FIRST}.jpg`, document.baseURI), `${FIRST}.jpg`));

  const workspace = await ready;
  wire(workspace);
  part('loading').hidden = true;
  await first;
  setTimeout(async () => {
    if (await keepAll()) part('offline').textContent = 'Works offline';
  }, KEEP_AFTER);
}

/** @param {Workspace} workspace */
function wire(workspace) {
  const stage = new Stage(part('stage'), workspace);
  const panel = new Panel(workspace, { list: part('objects'), count: part('count'), nothing: part('nothing') });
  const click = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ positive) =>
    void watch(workspace.click(x, y, positive));
  new Pointer(stage, { tool: () => tool, click, box: (box) => void watch(workspace.box(box)) });
  /** @type {Record<string, () => void>} */
  const actions = {
    a: () => pickTool('add'),
    s: () => pickTool('remove'),
    b: () => pickTool('box'),
    n: () => workspace.newObject(),
    m: () => void watch(workspace.other()),
    e: () => void watch(findEverything(workspace)),
    0: () => stage.fit(),
    '?': showHelp,
    Escape: () => void workspace.stopEverything(),
    Delete: () => workspace.active && workspace.remove(workspace.active.id),
    Backspace: () => workspace.active && workspace.remove(workspace.active.id),
    undo: () => workspace.undo(),
    redo: () => workspace.redo(),
  };
  listenToKeys(stage, actions, click);
  for (const [id, key] of [
    ['new', 'n'],
    ['other', 'm'],
    ['undo', 'undo'],
    ['redo', 'redo'],
    ['fit', '0'],
    ['everything', 'e'],
    ['everything-stop', 'Escape'],
  ]) {
    part(id).addEventListener('click', () => actions[key]());
  }
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.addEventListener('click', () => pickTool(/** @type {any} */ (button).dataset.tool));
  }
  for (const button of document.querySelectorAll('[data-save]')) {
    const { save: format } = /** @type {HTMLElement} */ (button).dataset;
    button.addEventListener('click', () =>
      watch(save(workspace, format ?? '').then((name) => tell(`Saved ${name}.`))),
    );
  }
  workspace.addEventListener('change', () => {
    updateButtons(workspace);
    report(workspace);
  });
  workspace.addEventListener('photograph', () => updateButtons(workspace));
  workspace.addEventListener('times', () => showTimes(part('times'), workspace.times));
  showTimes(part('times'), workspace.times);
  updateButtons(workspace);
  panel.draw();
  stage.showPicture();
}

void watch(start());
addEventListener('unhandledrejection', (event) => tell(String(event.reason?.message ?? event.reason), true));
