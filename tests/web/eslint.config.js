import js from '@eslint/js';
import globals from 'globals';

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, globals: { ...globals.browser, ...globals.worker } },
    rules: {
      eqeqeq: 'error',
      'no-implicit-globals': 'error',
      'no-shadow': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      curly: ['error', 'multi-line'],
      'max-lines': ['error', 400],
      complexity: ['error', 16],
    },
  },
  { files: ['**/*.mjs', '**/*.test.js', '*.js'], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
