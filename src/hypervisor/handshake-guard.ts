/**
 * QEMU shakes hands for TLS, and opens an NBD client, with blocking calls in its main loop: while the other side says
 * nothing, the source's own guest stands still and QMP is silent. So when QEMU does not answer in this phase, its
 * connection is cut from outside (`ss -K`), and it goes on with an error.
 */
import type { Clock } from '../base/clock.ts'
import type { Processes } from '../base/processes.ts'

/** A handshake takes milliseconds; so long is a guest stopped at most because a target went silent. */
const patienceMs = 3000

/** The answer of QEMU, whose connections to `host` and `port` are cut each time that it is silent for 3 s. */
export async function withoutHanging<T>(
  deps: { clock: Clock; processes: Processes },
  peer: { host: string; port: number },
  work: Promise<T>,
): Promise<T> {
  let timer: Disposable | undefined
  let isDone = false
  const arm = (): void => {
    if (isDone) return
    timer = deps.clock.timer(patienceMs, () => {
      deps.processes
        .run('ss', [
          '-K',
          'dst',
          peer.host.includes(':') ? `[${peer.host}]` : peer.host,
          'dport',
          '=',
          String(peer.port),
        ])
        .then(arm, arm)
    })
  }
  arm()
  try {
    return await work
  } finally {
    isDone = true
    timer?.[Symbol.dispose]()
  }
}
