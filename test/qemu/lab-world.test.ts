/** The lab's world by itself, with a program in place of the agent: wires, faults, storage, power, and taking it down. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { after, before, test } from 'node:test'
import { addressOf } from '../../src/lab/address-plan.ts'
import { Lab } from '../../src/lab/lab.ts'
import { insideCommand } from '../../src/lab/machine.ts'
import { insideHost, nodeFolders, storageFolders } from '../../src/lab/names.ts'
import { createWorld, leftovers, removeWorld } from '../../src/lab/world.ts'
import { realPorts } from '../support/lab.ts'

const ports = realPorts()
const launcher = { node: process.execPath, main: resolve(import.meta.dirname, '../support/idle-program.ts') }
const name = 'tworld'
let directory: string
let lab: Lab

before(async () => {
  directory = await mkdtemp('/var/tmp/hf')
  lab = await Lab.find(ports, launcher, name, directory)
  // What a run that was killed has left.
  await removeWorld(lab)
  lab = await Lab.find(ports, launcher, name, directory)
  await createWorld(lab, { hosts: 2, hasShared: true, diskGiB: 1 }, () => undefined)
})

after(async () => {
  await removeWorld(lab)
  await rm(directory, { recursive: true, force: true })
})

async function run(node: string, ...argv: string[]) {
  const [command = '', ...args] = await lab.inside(node, argv)
  return await ports.processes.run(command, args)
}

/** Starts a command in a host; its end is a promise. */
function begin(node: string, ...argv: string[]) {
  return { done: run(node, ...argv) }
}

async function eventually<T>(what: string, look: () => Promise<T | false | undefined>, timeoutMs = 15_000): Promise<T> {
  const end = ports.clock.monotonic() + timeoutMs
  for (;;) {
    const value = await look()
    if (value !== false && value !== undefined) return value
    assert.ok(ports.clock.monotonic() < end, `not within ${timeoutMs} ms: ${what}`)
    await ports.clock.sleep(20)
  }
}

async function address(node: string, network: 'management' | 'storage' | 'guests') {
  return addressOf((await lab.existing()).plan, node, network)
}

const pings = async (from: string, to: string): Promise<boolean> =>
  (await run(from, 'ping', '-c1', '-W1', '-n', to)).code === 0

test('hosts reach each other on every network, and the guests’ network carries VXLAN with whole frames', async () => {
  for (const network of ['management', 'storage', 'guests'] as const) {
    assert.ok(await pings('host1', await address('host2', network)), network)
  }
  const big = await run('host1', 'ping', '-c1', '-W1', '-M', 'do', '-s', '1572', await address('host2', 'guests'))
  assert.equal(big.code, 0, big.stdout)
  assert.ok((await ports.processes.run('ping', ['-c1', '-W1', await address('manager', 'management')])).code === 0)
})

test('a host has its own name, its own /sys and its own folders', async () => {
  const seen = await run('host2', 'sh', '-c', 'hostname; ls /sys/class/net; cat /proc/self/cgroup')
  assert.match(seen.stdout, /^host2\n/)
  assert.match(seen.stdout, /guests/)
  assert.doesNotMatch(seen.stdout, /eth0/)
  assert.match(seen.stdout, /0::\/\n/)
  await run('host2', 'sh', '-c', 'echo two > /var/lib/holdfast/mine')
  assert.notEqual((await run('host1', 'cat', '/var/lib/holdfast/mine')).code, 0)
})

test('creating a world that is there changes nothing', async () => {
  const pids = await lab.machines.cgroups.processes('host1')
  await createWorld(lab, { hosts: 2, hasShared: true, diskGiB: 1 }, () => undefined)
  assert.deepEqual(await lab.machines.cgroups.processes('host1'), pids)
})

test('a partition cuts exactly the network and the hosts that it names', async () => {
  await lab.partition({ hosts: ['host1'], from: ['host2'], network: 'storage', isOneWay: false })
  assert.equal(await pings('host1', await address('host2', 'storage')), false)
  assert.ok(await pings('host1', await address('host2', 'management')))
  await lab.partition({ hosts: ['host1'], isOneWay: false })
  assert.equal(await pings('host1', await address('manager', 'management')), false)
  assert.ok(await pings('host2', await address('manager', 'management')))
  await lab.heal()
  assert.ok(await pings('host1', await address('host2', 'storage')))
})

test('a one-way partition loses what the host sends and lets it hear', async () => {
  const target = await address('host2', 'management')
  // Known neighbours, so that only the datagrams themselves cross the wire.
  assert.ok(await pings('host1', target))
  await lab.partition({ hosts: ['host1'], from: ['host2'], network: 'management', isOneWay: true })
  const listen = `require('dgram').createSocket('udp4').bind(9999).on('message',m=>{console.log(''+m);process.exit()});console.log('on');setTimeout(()=>process.exit(),3000)`
  const send = (to: string) =>
    `setInterval(()=>require('dgram').createSocket('udp4').send('hello',9999,'${to}'),100);setTimeout(()=>process.exit(),2500)`
  const hears = begin('host1', launcher.node, '-e', listen)
  const deaf = begin('host2', launcher.node, '-e', listen)
  await Promise.all([
    run('host2', launcher.node, '-e', send(await address('host1', 'management'))),
    run('host1', launcher.node, '-e', send(target)),
  ])
  assert.match((await hears.done).stdout, /hello/)
  assert.doesNotMatch((await deaf.done).stdout, /hello/)
  await lab.heal()
})

async function runs(node: string, program: string): Promise<boolean> {
  const pids = await lab.machines.cgroups.processes(node)
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return names.includes(`${program}\n`)
}

const sharedImage = `${insideHost.sharedDatastore}/disk.qcow2`
// What it writes shows from outside that it has the image open; asking for its locks could take them from it.
const holdImage = ['qemu-io', '-f', 'qcow2', '-t', 'none', '-c', 'write 0 64k', '-c', 'sleep 60000', sharedImage]
const readImage = ['qemu-io', '-f', 'qcow2', '-t', 'none', '-c', 'read 0 4k', sharedImage]

test('QEMU’s image locks hold between hosts, and a crash of the holder frees them', async () => {
  assert.equal((await run('host1', 'qemu-img', 'create', '-q', '-f', 'qcow2', sharedImage, '64M')).code, 0)
  const file = `${directory}/${name}/array/shared/disk.qcow2`
  const empty = (await ports.files.stat(file))?.sizeBytes ?? 0
  const holder = begin('host1', ...holdImage)
  await eventually('the holder has written', async () => ((await ports.files.stat(file))?.sizeBytes ?? 0) > empty)
  const refused = await run('host2', ...readImage)
  assert.match(refused.stderr, /Failed to get .* lock/)
  assert.match((await run('host1', ...readImage)).stderr, /Failed to get .* lock/)
  await lab.crash('host1')
  await holder.done
  assert.equal((await run('host2', ...readImage)).code, 0)
  await lab.boot('host1')
})

test('cut storage hangs for files that are open, and goes on after heal', async () => {
  const fifo = `${insideHost.run}/fifo`
  await run('host1', 'mkfifo', fifo)
  const script = `exec 3> ${insideHost.sharedDatastore}/open; read -r _ < ${fifo}; echo x >&3; echo done`
  const write = begin('host1', 'sh', '-c', script)
  const file = `${directory}/${name}/array/shared/open`
  await eventually('the file is open', async () => (await ports.files.stat(file)) !== undefined)
  await lab.storageCut('host1')
  await run('host1', 'sh', '-c', `echo go > ${fifo}`)
  const first = await Promise.race([write.done.then(() => 'ended'), ports.clock.sleep(700).then(() => 'hangs')])
  assert.equal(first, 'hangs')
  assert.equal((await run('host2', 'ls', insideHost.sharedDatastore)).code, 0, 'another host is not touched')
  await lab.heal()
  assert.match((await write.done).stdout, /done/)
  assert.equal(await readFile(file, 'utf8'), 'x\n')
})

test('failing storage gives I/O errors, and a host that hangs on its storage can be crashed', async () => {
  await lab.storageCut('host1', 'fail')
  assert.match((await run('host1', 'ls', insideHost.sharedDatastore)).stderr, /Input\/output error/)
  await lab.storageCut('host1', 'hang')
  const hanging = begin('host1', 'dd', 'if=/dev/zero', `of=${insideHost.localDatastore}/x`, 'bs=4k', 'count=1')
  await eventually('dd runs', () => runs('host1', 'dd'))
  await lab.crash('host1')
  assert.notEqual((await hanging.done).code, 0)
  assert.deepEqual(await lab.machines.cgroups.processes('host1'), [])
  await lab.heal()
  assert.equal((await lab.power('host1', 'status')).power, 'on')
  assert.equal((await run('host1', 'ls', insideHost.sharedDatastore)).code, 0)
})

test('slow storage is slow, and only for the host that it was asked for', async () => {
  await lab.storageSlow('host1', { latencyMs: 200, kibPerSecond: 1024 })
  const write = ['dd', 'if=/dev/zero', `of=${insideHost.sharedDatastore}/slow`, 'bs=512k', 'count=1']
  const begun = ports.clock.monotonic()
  assert.equal((await run('host1', ...write)).code, 0)
  assert.ok(ports.clock.monotonic() - begun > 600)
  await lab.heal()
  const again = ports.clock.monotonic()
  assert.equal((await run('host1', ...write)).code, 0)
  assert.ok(ports.clock.monotonic() - again < 600)
})

test('a full disk says so, takes little of the real one, and is healed', async () => {
  await lab.storageFill('host2')
  const write = ['dd', 'if=/dev/zero', `of=${insideHost.localDatastore}/more`, 'bs=64k', 'count=1']
  assert.match((await run('host2', ...write)).stderr, /No space left on device/)
  assert.equal((await run('host1', ...write)).code, 0)
  const image = await ports.files.stat(storageFolders(lab.folder, 'host2').image)
  assert.ok((image?.allocatedBytes ?? 0) < 200 * 2 ** 20)
  await lab.heal()
  assert.equal((await run('host2', ...write)).code, 0)
})

test('a frozen host is power-cycled by its watchdog', async () => {
  const ask = (verb: string) =>
    run(
      'host1',
      launcher.node,
      '-e',
      `const s=require('net').connect('${insideHost.watchdog}',()=>s.write(JSON.stringify({verb:'${verb}',termMs:1500})+'\\n'));s.on('data',d=>{console.log(''+d);process.exit()})`,
    )
  assert.match((await ask('arm')).stdout, /"termMs":1500/)
  assert.match((await ask('pet')).stdout, /"termMs":1500/)
  const before = await lab.machines.cgroups.processes('host1')
  await lab.freeze('host1')
  assert.equal((await lab.power('host1', 'status')).power, 'frozen')
  await eventually('the watchdog bites', async () => (await lab.power('host1', 'status')).watchdogResets === 1)
  await eventually('the host is on again', async () => (await lab.power('host1', 'status')).power === 'on')
  const now = await lab.machines.cgroups.processes('host1')
  assert.ok(before.every((pid) => !now.includes(pid)))
})

test('a service that dies is started again', async () => {
  const own = nodeFolders(lab.folder, 'host2')
  await ports.files.write(`${own.data}/init/services.json`, JSON.stringify([{ name: 'agent', args: ['agent', 'run'] }]))
  await run('host2', 'sh', '-c', `kill -HUP $(cat ${insideHost.run}/init.pid)`)
  const log = async () =>
    (await readFile(`${own.data}/init/agent.log`, 'utf8').catch(() => '')).match(/idle (\d+) agent run/g) ?? []
  await eventually('the service runs', async () => (await log()).length === 1)
  process.kill(Number((await log())[0]?.split(' ')[1]), 'SIGKILL')
  await eventually('the service runs again', async () => (await log()).length === 2)
})

test('a host that was crashed boots with its cables alone, as one whose memory is gone', async () => {
  await run('host2', 'sh', '-c', 'ip link add br9 type bridge && nft add table inet mine')
  await lab.crash('host2')
  await lab.boot('host2')
  const seen = await run('host2', 'sh', '-c', 'ip -br link; nft list tables')
  assert.match(seen.stdout, /management/)
  assert.doesNotMatch(seen.stdout, /br9|mine/)
})

/** A program in Node in that host, which `signal` reaches by its number. */
function program(node: string, text: string) {
  const pidFile = `${insideHost.run}/program.pid`
  const done = run(node, 'sh', '-c', `echo $$ >${pidFile}; exec ${launcher.node} -e "${text}"`)
  return { done, signal: (name: string) => run(node, 'sh', '-c', `kill -${name} $(cat ${pidFile})`) }
}

test('what a host had written when it was cut off and switched off is never heard', async () => {
  const target = await address('host2', 'management')
  const heard = `${insideHost.run}/heard`
  const listens = program(
    'host2',
    `require('net').createServer((s)=>s.on('error',()=>{}).on('data',(d)=>require('fs').appendFileSync('${heard}',d))).listen(9998)`,
  )
  await eventually('it listens', async () => (await run('host2', 'ss', '-Hltn', 'sport = :9998')).stdout !== '')
  const speaks = program(
    'host1',
    `const s=require('net').connect(9998,'${target}',()=>s.write('early'));s.on('error',()=>{});process.on('SIGUSR1',()=>s.write('late'));setInterval(()=>{},1000)`,
  )
  await eventually('it is heard', async () => (await run('host2', 'cat', heard)).stdout === 'early')
  await lab.partition({ hosts: ['host1'], isOneWay: false })
  await speaks.signal('USR1')
  const sending = ['ss', '-Htn', 'state', 'established', 'dport', '=', ':9998']
  await eventually('more is on its way', async () => /^\d+ +4 /.test((await run('host1', ...sending)).stdout))
  await lab.crash('host1')
  await speaks.done
  const [command = '', ...args] = insideCommand(name, 'host1', undefined, ['ss', '--all', '--tcp', '-Hn'])
  const left = await ports.processes.run(command, args)
  assert.equal(left.stdout, '', 'the kernel would go on sending what the dead had written')
  await lab.heal()
  await lab.boot('host1')
  await listens.signal('KILL')
  await listens.done
  assert.equal((await run('host2', 'cat', heard)).stdout, 'early')
})

test('another lab comes and goes, and this one keeps its mounts', async () => {
  const other = await Lab.find(ports, launcher, 'tother', directory)
  await createWorld(other, { hosts: 1, hasShared: false, diskGiB: 1 }, () => undefined)
  assert.deepEqual(await removeWorld(other), [])
  for (const path of [insideHost.data, insideHost.run, insideHost.etc]) {
    assert.equal((await run('host1', 'mountpoint', '-q', path)).code, 0, path)
  }
})

test('verbs work when labd was killed, and say what cannot be', async () => {
  const labd = (await ports.processes.run('sh', ['-c', `grep -l -z -x labd /proc/[0-9]*/cmdline`])).stdout
  const mine = (await lab.machines.cgroups.processes('outside')).filter((pid) => labd.includes(`/proc/${pid}/`))
  assert.equal(mine.length, 1)
  process.kill(mine[0]!, 'SIGKILL')
  await lab.crash('host2')
  assert.equal((await lab.power('host2', 'status')).power, 'off')
  await assert.rejects(lab.inside('host2', ['true']), /host2 is off/)
  await assert.rejects(lab.crash('host9'), /has no "host9"/)
  await lab.boot('host2')
  await eventually('host2 runs commands', async () => (await run('host2', 'true')).code === 0)
})

test('down leaves nothing, with everything outside killed, a host frozen and another hanging on its storage', async () => {
  await lab.freeze('host1')
  await lab.storageCut('host2')
  const hanging = begin('host2', 'dd', 'if=/dev/zero', `of=${insideHost.localDatastore}/y`, 'bs=4k', 'count=1')
  await eventually('dd runs', () => runs('host2', 'dd'))
  for (const pid of await lab.machines.cgroups.processes('outside')) process.kill(pid, 'SIGKILL')
  assert.deepEqual(await removeWorld(lab), [])
  assert.deepEqual(await leftovers(lab), [])
  await hanging.done
})
