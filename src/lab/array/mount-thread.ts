/**
 * The thread of one mount: reads requests from the kernel, lets the faults in force have their way, answers. It blocks in
 * its reads; what it is told comes through shared memory (`Controls`) and a request on the mount that wakes it.
 *
 * A request that is hanging is answered EINTR when its process is killed (the kernel sends INTERRUPT), so a host can be
 * crashed while its storage hangs. FLUSH and RELEASE always go through: when a process dies, the array ends its session
 * and gives its locks up, as storage does.
 */
import { readSync, writeSync } from 'node:fs'
import { constants as os } from 'node:os'
import { workerData } from 'node:worker_threads'
import { controlIndex, storageMode, type MountThreadData } from './controls.ts'
import { inHeaderBytes, initReply, maxTransferBytes, number64, opcode, outHeaderBytes } from './fuse-wire.ts'
import { storageLibc } from './libc.ts'
import { rootNode } from './nodes.ts'
import { Passthrough, type Reply } from './passthrough.ts'

const { errno } = os
const data = workerData as MountThreadData
const controls = new Int32Array(data.controls)
const passthrough = new Passthrough(data.root, storageLibc())
/** Requests that hang, by their number. */
const held = new Map<bigint, Buffer>()
const always = new Set<number>([
  opcode.init,
  opcode.forget,
  opcode.batchForget,
  opcode.flush,
  opcode.release,
  opcode.releasedir,
  opcode.destroy,
])

function control(index: number): number {
  return Atomics.load(controls, index)
}

function answer(request: Buffer, reply: Reply): void {
  if (reply === undefined) return
  let message: Buffer
  if (Buffer.isBuffer(reply)) {
    const isInPlace = reply.buffer === passthrough.readBuffer.buffer
    message = isInPlace
      ? passthrough.readBuffer.subarray(0, outHeaderBytes + reply.length)
      : Buffer.concat([Buffer.alloc(outHeaderBytes), reply])
    message.writeInt32LE(0, 4)
  } else {
    message = Buffer.alloc(outHeaderBytes)
    message.writeInt32LE(reply, 4)
  }
  message.writeUInt32LE(message.length, 0)
  request.copy(message, 8, 8, 16)
  try {
    writeSync(data.fd, message)
  } catch (thrown) {
    // ENOENT: the request was interrupted and its process is gone.
    if (!hasCode(thrown, 'ENOENT')) throw thrown
  }
}

function serve(request: Buffer): void {
  const code = request.readUInt32LE(4)
  if (code === opcode.interrupt) return interrupt(request)
  const mode = always.has(code) || isWakeUp(request, code) ? storageMode.ok : control(controlIndex.mode)
  if (mode === storageMode.hang) held.set(request.readBigUInt64LE(8), Buffer.from(request))
  else if (mode === storageMode.fail) answer(request, -errno.EIO)
  else {
    if (mode === storageMode.slow) delay(request, code)
    answer(request, code === opcode.init ? initReply(request) : passthrough.handle(request))
  }
}

/**
 * The array's own request, made to wake this thread. It must never hang: a process that dies while it waits for itself
 * cannot end. Hosts look at the folders below, not at the root.
 */
function isWakeUp(request: Buffer, code: number): boolean {
  return code === opcode.statfs && number64(request, 16) === rootNode
}

function interrupt(request: Buffer): void {
  const number = request.readBigUInt64LE(inHeaderBytes)
  const target = held.get(number)
  held.delete(number)
  if (target !== undefined) answer(target, -errno.EINTR)
}

/** A latency for each request and a share of the bandwidth for what it carries; ends early when the fault is healed. */
function delay(request: Buffer, code: number): void {
  const bytes = code === opcode.read || code === opcode.write ? request.readUInt32LE(inHeaderBytes + 16) : 0
  const rate = Math.max(1, control(controlIndex.kibPerSecond)) * 1024
  const ms = control(controlIndex.latencyMs) + (bytes / rate) * 1000
  Atomics.wait(controls, controlIndex.mode, storageMode.slow, ms)
}

/** What hung goes on when the mode allows it; after a crash it is thrown away. */
function release(): void {
  const isCrash = Atomics.exchange(controls, controlIndex.dropHeld, 0) !== 0
  if (held.size === 0 || (!isCrash && control(controlIndex.mode) === storageMode.hang)) return
  const requests = [...held.values()]
  held.clear()
  for (const request of requests) {
    if (isCrash) answer(request, -errno.EIO)
    else serve(request)
  }
}

const buffer = Buffer.alloc(maxTransferBytes + 64 * 1024)
for (;;) {
  try {
    const length = readSync(data.fd, buffer)
    release()
    serve(buffer.subarray(0, length))
  } catch (thrown) {
    // ENODEV: unmounted. The others: the request was taken back before we had read it.
    if (hasCode(thrown, 'ENODEV')) break
    if (!hasCode(thrown, 'ENOENT') && !hasCode(thrown, 'EINTR') && !hasCode(thrown, 'EAGAIN')) throw thrown
  }
}

function hasCode(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code
}
