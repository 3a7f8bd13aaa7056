/** Lets a guest that ran out of space go on when there is some. */
import { isHeldPrimary, type VmCore } from './vm-core.ts'

const checkEveryMs = 3000

export async function watchSpace(core: VmCore, inQueue: (work: () => Promise<void>) => Promise<void>): Promise<void> {
  const { clock, signal, places } = core.ports
  while (core.state.outOfSpace) {
    await clock.sleep(checkEveryMs, signal)
    const { deployment } = core.state
    if (deployment === null || !(await places.hasSpace(deployment))) continue
    const letGo = async (): Promise<void> => {
      const { role, outOfSpace, pausedByUser } = core.state
      if (!outOfSpace || role !== 'running') return
      if (isHeldPrimary(core.state)) {
        // Between two pumps it waits for the next.
        if (core.pump === undefined) return
        if (!pausedByUser) await core.pump.setPaused(false)
        await core.save({ outOfSpace: false })
        return
      }
      await core.save({ outOfSpace: false })
      if (!pausedByUser && (await core.askMachine()) === 'paused') await core.resume()
    }
    await inQueue(letGo)
  }
}
