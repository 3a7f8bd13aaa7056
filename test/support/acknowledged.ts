import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { SqliteStore } from '../../src/manager/store/sqlite/sqlite-store.ts'

interface Ack {
  readonly lane: number
  readonly count: number
  readonly revision: number
}

/** A running commit-loop.ts, and what it has said was acknowledged. */
export class CommitLoop {
  readonly acks: Ack[] = []
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(path: string, mode: 'synced' | 'unsynced' = 'synced') {
    const program = fileURLToPath(new URL('commit-loop.ts', import.meta.url))
    const options = mode === 'unsynced' ? ['unsynced'] : []
    this.child = spawn(process.execPath, [program, path, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
    assert.ok(this.child.stdout)
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]()
  }

  /** Reads on until so many commits of this process were acknowledged. */
  async until(count: number): Promise<void> {
    while (this.acks.length < count) assert.ok(await this.#next(), 'the program ended too early')
  }

  /** Ends it in the middle of whatever it does; what it had said before then is read to the last line. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    while (await this.#next());
  }

  async #next(): Promise<boolean> {
    const line = await this.#lines.next()
    if (line.done === true) return false
    const [word, lane, count, revision] = line.value.split(' ')
    if (word === 'ack' && revision !== undefined) {
      this.acks.push({ lane: Number(lane), count: Number(count), revision: Number(revision) })
    }
    return true
  }
}

/** Throws unless the store holds all that was acknowledged, whole commits only, and a log without a gap. */
export async function assertNothingLost(store: SqliteStore, acks: readonly Ack[]): Promise<void> {
  const { items, revision } = await store.list('claim')
  const at = new Map(items.map((item) => [item.value.id, item]))
  for (const { lane, count, revision: acked } of acks) {
    assert.equal(at.get(`lane-${lane}/${count}`)?.revision, acked, `commit ${acked} was acknowledged and is lost`)
    assert.ok(acked <= revision)
  }
  for (const lane of [0, 1, 2, 3]) {
    const count = Number(at.get(`lane-${lane}`)?.value.owner ?? 0)
    const fillers = items.filter((item) => item.value.id.startsWith(`lane-${lane}/`))
    assert.equal(fillers.length, count, `lane ${lane} holds half a commit`)
  }
  const events = await store.events({ revision: 0, sequence: 0 }, 1_000_000)
  assert.ok(events !== 'relist')
  assert.deepEqual(
    events.map((event) => event.revision),
    Array.from({ length: revision }, (_, n) => n + 1),
  )
}
