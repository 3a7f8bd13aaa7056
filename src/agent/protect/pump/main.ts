/** The process of one pump: `node main.ts ORDER-FILE`. */
import {
  jsonLogger,
  nodeClock,
  nodeFiles,
  nodeNetwork,
  nodeProcesses,
  nodeProcessMemories,
  nodeStreams,
} from '../../../base/node/index.ts'
import { runPumpProcess } from './pump-process.ts'

using network = nodeNetwork()
const ports = {
  ...{ log: jsonLogger(), network, clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses() },
  ...{ memories: nodeProcessMemories(), streams: nodeStreams() },
}
await runPumpProcess(ports, process.argv[2] ?? '')
process.exit(0)
