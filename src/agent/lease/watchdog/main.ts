/** The process of the watchdog: `node main.ts RUN/lease`. */
import { jsonLogger, nodeClock, nodeFiles, nodeNetwork, nodeProcesses } from '../../../base/node/index.ts'
import { openWatchdogDevice } from '../../../base/node/watchdog-device.ts'
import { runWatchdog } from './run-watchdog.ts'

using network = nodeNetwork()
const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), log: jsonLogger() }
await runWatchdog({ ...ports, network, openDevice: openWatchdogDevice }, process.argv[2] ?? '')
process.exit(0)
