/**
 * Three managers on three members of etcd: the one that leads is killed, or stopped in order; how long until the API answers
 * again, asked at the other two all the time. All on this machine.
 *
 *   ./dev/bench manager-failover --runs 30
 */
import { EtcdMembers } from '../test/store/etcd-members.ts'
import { ManagerProcesses } from '../test/support/manager-processes.ts'
import { numberOptions, Report } from './support/report.ts'

const { runs } = numberOptions({ runs: 30 })
const report = new Report('manager-failover', { runs })

await using members = await EtcdMembers.start(3, { isQuick: true })
await using managers = await ManagerProcesses.start(3, `etcd://${members.endpoints.map((url) => url.slice(7)).join()}`)

/** From the strike until either of the others has answered what only a leader can. */
async function failover(signal: 'SIGKILL' | 'SIGTERM'): Promise<number> {
  const leader = await managers.leader()
  const others = managers.names.filter((name) => name !== leader)
  const began = performance.now()
  const ended = managers.end(leader, signal)
  await managers.until(() => Promise.any(others.map((name) => managers.client(name).call('getCluster'))))
  const tookMs = performance.now() - began
  await ended
  managers.boot(leader)
  // The next strike is at managers that are all well again.
  await managers.until(() => managers.client(leader).call('getCluster'))
  return tookMs
}

const lanes = { killed: [] as number[], stopped: [] as number[] }
for (let run = 0; run < runs; run++) {
  lanes.killed.push(await failover('SIGKILL'))
  lanes.stopped.push(await failover('SIGTERM'))
}
const rows = Object.entries(lanes).map(([name, values]) => ({ name: `the leader is ${name}`, values }))
report.add({ title: 'until the API answers again', unit: 'ms', base: rows[0]?.name ?? '', rows })
await report.write()
