import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
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
  /** Resolves when the program is gone and its last word read. */
  readonly #ended: Promise<void>
  #partial = ''
  #wake = (): void => undefined

  constructor(path: string, mode: 'synced' | 'unsynced' = 'synced') {
    const program = fileURLToPath(new URL('commit-loop.ts', import.meta.url))
    const options = mode === 'unsynced' ? ['unsynced'] : []
    this.child = spawn(process.execPath, [program, path, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text))
    this.#ended = new Promise((resolve) => this.child.once('close', () => resolve()))
  }

  /** Resolves when so many commits of this process were acknowledged; rejects when it ends before. */
  async until(count: number): Promise<void> {
    const enough = new Promise<'enough'>((resolve) => {
      this.#wake = () => {
        if (this.acks.length >= count) resolve('enough')
      }
    })
    this.#wake()
    assert.equal(await Promise.race([enough, this.#ended]), 'enough', 'the program ended too early')
  }

  /** Ends it in the middle of whatever it does; what it had said before then is read to the last line. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.#ended
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) {
      const [word, lane, count, revision] = line.split(' ')
      if (word !== 'ack') continue
      this.acks.push({ lane: Number(lane), count: Number(count), revision: Number(revision) })
    }
    this.#wake()
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
