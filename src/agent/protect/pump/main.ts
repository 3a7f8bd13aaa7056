/** The process of one pump: `node main.ts ORDER-FILE`. */
import { runPumpProcess } from './pump-process.ts'

await runPumpProcess(process.argv[2] ?? '')
