import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createServer as createSocketServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { WebSocketServer } from 'ws'
import { HoldfastError } from '../errors.ts'
import { jsonLogger, keepMemoryLow, nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from './index.ts'

let folder = ''
before(async () => void (folder = await mkdtemp(join(tmpdir(), 'holdfast-ports-'))))
after(() => rm(folder, { recursive: true, force: true }))

describe('memory', () => {
  test('what was freed goes back to the system while the process rests', async () => {
    const clock = nodeClock()
    const before = process.memoryUsage.rss()
    let buffers: Buffer[] | undefined = Array.from({ length: 2000 }, () => Buffer.allocUnsafeSlow(100_000).fill(1))
    const most = process.memoryUsage.rss()
    assert.ok(most > before + 100e6)
    assert.equal(buffers.length, 2000)
    buffers = undefined
    using _kept = keepMemoryLow(10, 50)
    const until = clock.monotonic() + 30_000
    while (process.memoryUsage.rss() > before + 60e6 && clock.monotonic() < until) await clock.sleep(20)
    assert.ok(process.memoryUsage.rss() <= before + 60e6, `${process.memoryUsage.rss()} of ${most} bytes`)
  })
})

describe('clock', () => {
  const clock = nodeClock()

  test('monotonic counts up in milliseconds', async () => {
    const start = clock.monotonic()
    await clock.sleep(20)
    const passed = clock.monotonic() - start
    assert.ok(passed >= 18 && passed < 5000, String(passed))
  })

  test('a sleep rejects with the reason of its signal, at once when it is already aborted', async () => {
    const controller = new AbortController()
    const sleeping = clock.sleep(60_000, controller.signal)
    controller.abort(new Error('enough'))
    await assert.rejects(sleeping, /enough/)
    await assert.rejects(clock.sleep(60_000, controller.signal), /enough/)
  })

  test('a sleep of nothing lets others have their turn, and waits for no timer', async () => {
    const turns: string[] = []
    const timer = setTimeout(() => turns.push('timer'), 10_000)
    setImmediate(() => turns.push('other'))
    for (let slept = 0; slept < 3; slept++) await clock.sleep(0).then(() => turns.push('slept'))
    clearTimeout(timer)
    assert.deepEqual(turns, ['other', 'slept', 'slept', 'slept'])
  })

  test('a disposed timer does not fire', async () => {
    let fired = 0
    clock.timer(5, () => fired++)[Symbol.dispose]()
    await clock.sleep(25)
    assert.equal(fired, 0)
  })

  test('a timer longer than Node allows does not fire at once', async () => {
    let fired = 0
    const timer = clock.timer(2 ** 40, () => fired++)
    await clock.sleep(10)
    timer[Symbol.dispose]()
    assert.equal(fired, 0)
  })
})

describe('processes', () => {
  const processes = nodeProcesses()
  const bounded = () => AbortSignal.timeout(10_000)

  test('a run gives exit code and both streams, and streams progress', async () => {
    let seen = ''
    const result = await processes.run('sh', ['-c', 'cat; echo err >&2; exit 3'], {
      input: 'hello',
      onStdout: (part) => (seen += part),
    })
    assert.deepEqual(result, { code: 3, stdout: 'hello', stderr: 'err\n' })
    assert.equal(seen, 'hello')
  })

  test('a run keeps the end of a long output', async () => {
    const result = await processes.run('sh', ['-c', 'seq 1 100000'], { maxOutputBytes: 7 })
    assert.equal(result.stdout, '100000\n')
  })

  test('a program that does not exist rejects with its name', async () => {
    await assert.rejects(processes.run('holdfast-no-such-program', []), /holdfast-no-such-program cannot be started/)
    const detached = processes.startDetached('holdfast-no-such-program', [], { logFile: join(folder, 'log') })
    await assert.rejects(detached, /holdfast-no-such-program cannot be started/)
  })

  test('aborting a run ends the program and rejects with the reason', async () => {
    const controller = new AbortController()
    const running = processes.run('sh', ['-c', 'echo ready; sleep 60'], {
      signal: controller.signal,
      onStdout: () => controller.abort(new Error('stop it')),
    })
    await assert.rejects(running, /stop it/)
  })

  test('a detached process has a session of its own, logs to its file, and is gone after a signal', async () => {
    const logFile = join(folder, 'detached.log')
    const id = await processes.startDetached('sh', ['-c', 'echo started; cat /proc/self/stat; exec sleep 60'], {
      logFile,
    })
    assert.deepEqual(await processes.identify(id.pid), id)
    assert.equal(await processes.signal({ ...id, startTicks: id.startTicks + 1 }, 'SIGKILL'), false)
    assert.equal(await processes.isAlive(id), true)
    while (!(await readFile(logFile, 'utf8')).includes(') ')) bounded().throwIfAborted()
    const stat = (await readFile(logFile, 'utf8')).split(') ')[1]?.split(' ') ?? []
    assert.equal(Number(stat[3]), id.pid, 'session')
    assert.equal(await processes.signal(id, 'SIGKILL'), true)
    await processes.waitGone(id, bounded())
    assert.equal(await processes.identify(id.pid), undefined)
    assert.equal(await processes.signal(id, 'SIGKILL'), false)
  })

  test('a detached process inherits file descriptors from 3 on', async () => {
    const logFile = join(folder, 'fds.log')
    const source = join(folder, 'source')
    await writeFile(source, 'through the descriptor')
    await using file = await (await import('node:fs/promises')).open(source)
    const id = await processes.startDetached('sh', ['-c', 'cat <&3'], { logFile, inheritFds: [file.fd] })
    await processes.waitGone(id, bounded())
    assert.equal(await readFile(logFile, 'utf8'), 'through the descriptor')
  })
})

describe('files', () => {
  const files = nodeFiles()

  test('replace leaves the new content, the mode, and nothing beside it', async () => {
    const inside = join(folder, 'a', 'b')
    await files.makeDirectory(inside)
    await files.replace(join(inside, 'x'), 'one', { mode: 0o600 })
    await files.replace(join(inside, 'x'), 'two', { mode: 0o600 })
    assert.equal(await files.readText(join(inside, 'x')), 'two')
    assert.deepEqual(await files.list(inside), ['x'])
    await files.rename(join(inside, 'x'), join(folder, 'y'))
    assert.deepEqual(await files.list(inside), [])
    await files.remove(join(folder, 'a'))
    await files.remove(join(folder, 'a'))
    assert.equal(await files.stat(join(folder, 'a')), undefined)
  })

  test('a handle reads, writes, truncates and syncs; create-new refuses what exists', async () => {
    const path = join(folder, 'handle')
    await using file = await files.open(path, 'create-new')
    await file.write(3, Buffer.from('abc'))
    await file.sync()
    assert.deepEqual([...(await file.read(2, 100))], [0, 97, 98, 99])
    await file.truncate(4)
    assert.equal((await files.stat(path))?.sizeBytes, 4)
    await assert.rejects(files.open(path, 'create-new'), { code: 'EEXIST' })
  })

  test('parts are written one behind the other, however many', async () => {
    const path = join(folder, 'parts')
    await using file = await files.open(path, 'create-new')
    const parts = Array.from({ length: 3000 }, (_, at) => Buffer.from(at % 7 === 0 ? '' : `${at} `))
    await file.writeParts(5, parts)
    assert.deepEqual(await readFile(path), Buffer.concat([Buffer.alloc(5), ...parts]))
  })

  test('space is told', async () => {
    const { totalBytes, freeBytes } = await files.space(folder)
    assert.ok(totalBytes >= freeBytes && freeBytes > 0)
  })
})

describe('network', () => {
  test('requests share a kept connection; a vanished server is unreachable; an abort gives its reason', async () => {
    using network = nodeNetwork()
    let connections = 0
    const server = createServer((request, response) => {
      if (request.url === '/hang') return
      request.pipe(response.writeHead(201, { 'x-method': request.method }))
    })
    server.on('connection', () => connections++)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    for (const body of ['one', 'two']) {
      const response = await network.request({ method: 'POST', url, body })
      assert.equal(response.status, 201)
      assert.equal(response.headers['x-method'], 'POST')
      assert.equal(await text(response.body), body)
    }
    assert.equal(connections, 1)
    const hanging = network.request({ method: 'GET', url: `${url}/hang`, signal: AbortSignal.timeout(30) })
    await assert.rejects(hanging, { name: 'TimeoutError' })
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await assert.rejects(
      network.request({ method: 'GET', url }),
      (error) => error instanceof HoldfastError && error.code === 'unreachable' && error.isUnknown,
    )
  })

  test('a unix socket is a stream, and unreachable when nobody listens', async () => {
    using network = nodeNetwork()
    const path = join(folder, 's')
    await assert.rejects(network.connectUnix(path), { code: 'unreachable' })
    const server = createSocketServer((socket) => socket.pipe(socket))
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const stream = await network.connectUnix(path)
    stream.end('echo')
    assert.equal(await text(stream), 'echo')
    server.close()
  })

  test('a WebSocket is a stream of bytes', async () => {
    using network = nodeNetwork()
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    server.on('connection', (socket) => socket.on('message', (data) => socket.send(data, () => socket.close())))
    await new Promise((resolve) => server.once('listening', resolve))
    const stream = await network.webSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, {})
    stream.write('ping')
    assert.equal(await text(stream), 'ping')
    stream.destroy()
    server.close()
  })

  test('a WebSocket that is refused says what the other side said', async () => {
    using network = nodeNetwork()
    const server = createServer((_request, response) => {
      response.writeHead(409, { 'content-type': 'text/plain' }).end('the line is in use')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const opening = network.webSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, {})
    await assert.rejects(opening, {
      code: 'host-error',
      details: { status: 409, contentType: 'text/plain', answer: 'the line is in use' },
    })
    server.close()
  })
})

describe('log', () => {
  const lines: string[] = []
  const log = jsonLogger({ stream: { write: (line) => lines.push(line) }, level: 'info' }).child({ vm: 'vm-1' })
  const last = (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown>

  test('a line has its fields, and an error its whole chain', () => {
    log.debug({}, 'not seen')
    log.warn({ step: 'transfer', err: new Error('outer', { cause: new Error('inner') }) }, 'it failed')
    assert.equal(lines.length, 1)
    const { vm, step, err, level, message } = last()
    assert.deepEqual(
      { vm, step, err, level, message },
      { vm: 'vm-1', step: 'transfer', err: 'outer: inner', level: 'warn', message: 'it failed' },
    )
  })

  test('secrets are never written, at any depth', () => {
    log.info(
      {
        request: { token: 'hunter2', privateKey: 'hunter2', headers: { authorization: 'hunter2' } },
        password: 'hunter2',
        key: 7,
      },
      'signed in',
    )
    assert.ok(!lines.at(-1)?.includes('hunter2'))
    assert.equal(last()['key'], 7)
  })

  test('a circle in a field does not cost the line', () => {
    const circle: Record<string, unknown> = {}
    circle['self'] = circle
    log.info({ circle }, 'round')
    assert.equal(last()['message'], 'round')
  })
})

test('random bytes, numbers and UUIDs come out in range', () => {
  const random = nodeRandom()
  assert.equal(random.bytes(5).length, 5)
  assert.ok(random.int(3) < 3)
  assert.match(random.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4/)
})
