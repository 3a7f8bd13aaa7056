import tseslint from 'typescript-eslint'

/** Reasons for the bans below; a message says what to use instead. */
const useClock = 'Time comes from the Clock port (src/base/clock.ts), so that the simulation can own it.'
const useRandom = 'Randomness comes from the Random port (src/base/random.ts), so that a seed replays a run.'

const bannedGlobals = [
  { name: 'setTimeout', message: useClock },
  { name: 'setInterval', message: useClock },
  { name: 'setImmediate', message: useClock },
  { name: 'fetch', message: 'HTTP goes through the Network port (src/base/network.ts).' },
]

const bannedProperties = [
  { object: 'Date', property: 'now', message: useClock },
  { object: 'performance', property: 'now', message: useClock },
  { object: 'Math', property: 'random', message: useRandom },
]

const bannedModules = [
  ['child_process', 'Programs are started through the Processes port (src/base/processes.ts).'],
  ['fs', 'Files are reached through the Files port (src/base/files.ts).'],
  ['fs/promises', 'Files are reached through the Files port (src/base/files.ts).'],
  ['timers', useClock],
  ['timers/promises', useClock],
].flatMap(([name, message]) => [
  { name, message },
  { name: `node:${name}`, message },
])

export default tseslint.config(
  { ignores: ['node_modules', '**/generated/**', 'web/**/*.js', 'docs/api/**'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] },
          ],
        },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      '@typescript-eslint/only-throw-error': 'error',
      // `using` is for the disposal at the end of the block; its name need not be read.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }],
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
    },
  },
  {
    // Everything but the ports' real implementations, the mains, tests and tools, and the lab's storage array: that one
    // stands for hardware and serves the kernel's requests synchronously.
    files: ['src/**/*.ts'],
    ignores: ['src/base/node/**', 'src/lab/array/**', 'src/**/*.test.ts', 'src/**/main.ts'],
    rules: {
      'no-restricted-globals': ['error', ...bannedGlobals],
      'no-restricted-properties': ['error', ...bannedProperties],
      'no-restricted-imports': ['error', { paths: bannedModules }],
      'max-lines-per-function': ['error', { max: 50, skipBlankLines: true, skipComments: true }],
      'no-restricted-syntax': [
        'error',
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: useClock },
      ],
    },
  },
  {
    files: ['**/*.test.ts', 'test/**/*.ts', 'bench/**/*.ts', 'dev/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-floating-promises': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
    },
  },
)
