/** The list of objects: pick, rename, delete. */
export class Panel {
  /**
   * @param {import('../engine/workspace.js').Workspace} workspace
   * @param {{list: HTMLElement, count: HTMLElement, nothing: HTMLElement}} parts
   */
  constructor(workspace, parts) {
    this.workspace = workspace;
    this.parts = parts;
    workspace.addEventListener('change', () => this.draw());
  }

  draw() {
    const { things, active } = this.workspace.objects;
    this.parts.count.textContent = String(things.length);
    this.parts.nothing.hidden = things.length > 0;
    this.parts.list.replaceChildren(...things.map((thing) => this.row(thing, thing.id === active)));
    this.parts.list.querySelector('.active')?.scrollIntoView({ block: 'nearest' });
  }

  /**
   * @param {import('../lib/types.js').Thing} thing
   * @param {boolean} active
   */
  row(thing, active) {
    const { workspace } = this;
    const row = document.createElement('li');
    row.className = active ? 'active' : '';
    const swatch = button('swatch', '', `Go on with ${thing.name}`, () => workspace.select(thing.id));
    swatch.style.background = thing.colour;
    swatch.setAttribute('aria-pressed', String(active));
    const name = document.createElement('input');
    name.value = thing.name;
    name.setAttribute('aria-label', `Name of ${thing.name}`);
    name.addEventListener('change', () => workspace.rename(thing.id, name.value));
    name.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') name.blur();
    });
    const remove = button('delete', '×', `Delete ${thing.name}`, () => workspace.remove(thing.id));
    row.append(swatch, name, remove);
    return row;
  }
}

/**
 * @param {string} kind
 * @param {string} text
 * @param {string} label
 * @param {() => void} run
 */
function button(kind, text, label, run) {
  const made = document.createElement('button');
  made.type = 'button';
  made.className = kind;
  made.textContent = text;
  made.title = label;
  made.setAttribute('aria-label', label);
  made.addEventListener('click', run);
  return made;
}
