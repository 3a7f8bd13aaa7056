/** The door of this room: every port of src/base over the real machine. Wired in mains only. */
export { nodeClock } from './clock.ts'
export { nodeFiles } from './files.ts'
export { jsonLogger, logLevels, type JsonLoggerOptions, type LogLevel } from './log.ts'
export { keepMemoryLow } from './memory.ts'
export { nodeNetwork } from './network.ts'
export { nodeProcesses } from './processes.ts'
export { nodeRandom } from './random.ts'
export { nodeTaps } from './taps.ts'
