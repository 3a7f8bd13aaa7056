/** What is kept of a lab in which a promise was broken: its logs, and what the managers know. */
import { mkdir, writeFile } from 'node:fs/promises'
import type { TestLab } from '../lab.ts'
import type { Guest } from './world.ts'

/** The newest of the logs alone: what led to it. */
const logBytes = 4_000_000

export async function keepEvidence(lab: TestLab, guests: readonly Guest[], folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const copy = `cd "$1" && find . -maxdepth 8 \\( -name '*.log' -o -name lab.json -o -name lease.json \\) -not -path './array/*' |
    while read -r file; do mkdir -p "$2/$(dirname "$file")" && tail -c ${logBytes} "$file" >"$2/$file"; done`
  await lab.ports.processes.run('sh', ['-c', copy, 'sh', lab.lab.folder, `${folder}/lab`])
  await lab.ports.processes.run('sh', ['-c', `ps -eo pid,stat,etimes,args >"$1/processes"`, 'sh', folder])
  const { client } = lab
  const limit = { query: { limit: 1000 } }
  const signal = AbortSignal.timeout(20_000)
  const calls = {
    hosts: () => client.call('listHosts', {}, { signal }),
    managers: () => client.call('listManagers', {}, { signal }),
    vms: () => client.call('listVms', {}, { signal }),
    tasks: () => client.call('listTasks', limit, { signal }),
    alarms: () => client.call('listAlarms', { query: { state: 'all' } }, { signal }),
    events: () => lastEvents(lab, signal),
  }
  for (const [name, call] of Object.entries(calls)) {
    const said = await call().catch((thrown: unknown) => ({ error: String(thrown) }))
    await writeFile(`${folder}/${name}.json`, `${JSON.stringify(said, null, 1)}\n`)
  }
  const clients = guests.map(({ name, judge, witness }) => ({
    ...{ name, boots: judge.boots, acknowledged: judge.next, silenceMs: judge.silence(performance.now()) },
    spans: witness?.spans ?? [],
  }))
  await writeFile(`${folder}/clients.json`, `${JSON.stringify(clients, null, 1)}\n`)
}

async function lastEvents(lab: TestLab, signal: AbortSignal): Promise<unknown> {
  const pages: unknown[] = []
  let after: string | undefined
  do {
    const query = { limit: 1000, ...(after === undefined ? {} : { after }) }
    const page = await lab.client.call('listEvents', { query }, { signal })
    pages.push(...page.items)
    after = page.next ?? undefined
  } while (after !== undefined)
  return pages
}
