const KEY = 'samlet-theme';

/** Dark or light: the system's choice until another is made. @param {HTMLElement} button */
export function startTheme(button) {
  const { documentElement: root } = document;
  const stored = localStorage.getItem(KEY);
  if (stored) root.dataset.theme = stored;
  button.addEventListener('click', () => {
    const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
    root.dataset.theme = (root.dataset.theme ?? system) === 'dark' ? 'light' : 'dark';
    localStorage.setItem(KEY, root.dataset.theme);
  });
}
