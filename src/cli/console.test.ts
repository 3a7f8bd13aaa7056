import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Client } from '../contracts/client.ts'
import { fakeManager, fakeTerminal, fakeWorld, hastyClock } from './testing/fake-surroundings.ts'
import { page, sampleVm } from './testing/samples.ts'

class Line extends Duplex {
  typed = ''
  override _read(): void {
    // Bytes are pushed when the guest says something.
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.typed += chunk.toString()
    this.emit('typed')
    done()
  }
  say(text: string): void {
    this.push(text)
  }
}

/** A VM whose console is reached by these lines, one per connection. */
function consoleOf(lines: (Line | HoldfastError)[], state: () => string = () => 'running') {
  let opened = 0
  const openConsole: Client['openConsole'] = async () => {
    const line = lines[Math.min(opened, lines.length - 1)]
    opened += 1
    if (line instanceof HoldfastError || line === undefined) throw line ?? new Error('no line')
    return line
  }
  const manager = fakeManager(
    {
      listVms: () => page(sampleVm()),
      getVm: () => sampleVm({ state: state() }),
      createTicket: () => ({ url: '/v1/consoles?ticket=x', expires: '' }),
    },
    { openConsole },
  )
  return { manager, opened: () => opened }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; turns < 1000; turns += 1) {
    if (isSo()) return
    await turn()
  }
  assert.fail('it did not come to that')
}

test('keys go to the guest, its answers come out, Ctrl-] ends', async () => {
  const line = new Line()
  const terminal = fakeTerminal({ isTty: true })
  const world = fakeWorld(consoleOf([line]).manager, { terminal })
  const ended = world.run('vm', 'console', 'web')
  await until(() => terminal.written.err.includes('Ctrl-] leaves'))
  line.say('login: ')
  terminal.keys.write('root\u0003\r')
  await until(() => line.typed === 'root\u0003\r' && terminal.written.out === 'login: ')
  terminal.keys.write('x\u001dy')
  assert.equal(await ended, 0)
  assert.equal(line.typed, 'root\u0003\rx')
  assert.ok(line.destroyed)
})

test('a pipe goes to the guest; the command ends when both are silent', async () => {
  const line = new Line()
  const terminal = fakeTerminal()
  const clock = hastyClock()
  const world = fakeWorld(consoleOf([line]).manager, { terminal, clock })
  terminal.keys.end('uname\n')
  const ended = world.run('vm', 'console', 'web', '--grace', '3')
  await until(() => line.typed === 'uname\n')
  await turn()
  await clock.sleep(2000)
  line.say('Linux\n')
  await until(() => terminal.written.out === 'Linux\n')
  await clock.sleep(2900)
  assert.ok(!line.destroyed)
  await clock.sleep(200)
  assert.equal(await ended, 0)
})

test('a dropped connection is made again, and said', async () => {
  const [first, second] = [new Line(), new Line()]
  const terminal = fakeTerminal({ isTty: true })
  const { manager, opened } = consoleOf([first, new HoldfastError('unreachable', 'moving'), second])
  const ended = fakeWorld(manager, { terminal }).run('vm', 'console', 'web')
  await until(() => terminal.written.err.includes('Ctrl-] leaves'))
  first.destroy()
  await until(() => terminal.written.err.includes('connected again'))
  assert.match(terminal.written.err, /the connection dropped; connecting again/)
  assert.equal(opened(), 3)
  second.say('still here')
  await until(() => terminal.written.out === 'still here')
  terminal.keys.write('\u001d')
  assert.equal(await ended, 0)
})

test('a VM that is switched off ends it', async () => {
  const line = new Line()
  const terminal = fakeTerminal({ isTty: true })
  const world = fakeWorld(consoleOf([line], () => 'stopped').manager, { terminal })
  const ended = world.run('vm', 'console', 'web')
  await until(() => terminal.written.err.includes('Ctrl-] leaves'))
  line.destroy()
  assert.equal(await ended, 0)
  assert.match(terminal.written.err, /web is off/)
})

test('--timeout ends it in any case', async () => {
  const terminal = fakeTerminal()
  const clock = hastyClock()
  const line = new Line()
  const ended = fakeWorld(consoleOf([line]).manager, { terminal, clock }).run('vm', 'console', 'web', '--timeout', '5')
  await until(() => line.listenerCount('data') > 0)
  await clock.sleep(5001)
  assert.equal(await ended, 0)
})

test('a console that is refused at first is an error', async () => {
  const { manager } = consoleOf([new HoldfastError('wrong-state', 'web is off')])
  assert.equal(await fakeWorld(manager).run('vm', 'console', 'web'), 4)
})
