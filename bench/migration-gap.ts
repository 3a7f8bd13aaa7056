/**
 * What a client of a guest notices of a move: the longest silence of a TCP stream that ticks every 5 ms, and of a ping
 * every 5 ms; how long the move takes; how much it sends. Holdfast, bare QMP and libvirt take turns in one run.
 *
 * Silences are read from the kernel's time stamps of the frames that arrive where the client stands, not from when a
 * program got round to reading them. Where they come from is read from the frames on both hosts' uplinks, and from QEMU's
 * own STOP and RESUME.
 *
 *   ./dev/bench migration-gap --runs 10            ten moves of each contender
 *   ./dev/bench migration-gap --runs 0 --held 50   one connection held over 50 moves in a row, idle and busy guest
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BareGuest } from './support/bare-lane.ts'
import { answers, BenchLab, GuestClient } from './support/bench-lab.ts'
import { Capture, deliveries, longestSilence, pingReplies, type Frame } from './support/capture.ts'
import { HoldfastGuest } from './support/holdfast-lane.ts'
import type { Lane, Moved } from './support/lane.ts'
import { libvirtAbsent, LibvirtGuest } from './support/libvirt-lane.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { numberOptions, Report } from './support/report.ts'

/** Before the move and after it: the guest ticks and nothing else happens. */
const calmMs = 1200
/** A control: this long without a move. */
const controlMs = 3000

/** Milliseconds; null where it was not seen. */
interface Parts {
  /** From the guest's last frame on its old host to QEMU's STOP. */
  readonly beforeStop: number | null
  readonly standing: number | null
  readonly toAnnouncement: number | null
  /** From RESUME to the first frame that the guest itself sends from its new host. */
  readonly toFirstFrame: number | null
  /** From that to the first bytes of the stream that the client can read. */
  readonly toStream: number | null
  /** Where the longest silence of the stream began, after STOP. */
  readonly silenceAfterStop: number | null
}

interface Sample extends Moved, Parts {
  readonly streamMs: number
  readonly pingMs: number
  readonly bytes: number
  readonly lost: string | undefined
}

const { runs, held, dirty } = numberOptions({ runs: 10, held: 0, dirty: 24 })
await using _share = await largeCpuShare('bench')
await using lab = await BenchLab.open('bench')
const folder = await mkdtemp('/var/tmp/hfb')
await using _folder = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
const report = new Report('migration-gap', { runs, held, dirtyMiB: dirty, accelerator: 'tcg', memoryMiB: 128 })

if (runs > 0) await sideBySide()
if (held > 0) await connectionsHeld()
await report.write()

async function sideBySide(): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const vm = await lab.lab.createVm({ name: 'gap', nics: [{ network: 'default' }] })
  const like = await commandLine(vm.host ?? '')
  const bare = stack.use(await BareGuest.open({ lab, like, folder: `${folder}/bare` }, 'host1'))
  const own = new HoldfastGuest(lab, vm)
  const lanes: Lane[] = [
    own.lane('Holdfast, TLS', true),
    bare.lane('bare QMP, TLS', true),
    own.lane('Holdfast, no TLS', false),
    bare.lane('bare QMP, no TLS', false),
  ]
  const absent = libvirtAbsent()
  if (absent === undefined && lab.lab.guest !== undefined) {
    const { kernel, initrd, cmdline } = lab.lab.guest
    const { machineType, cpu, memoryMiB } = vm.spec
    const options = { lab, folder: `${folder}/libvirt`, kernel, initrd, cmdline, machineType, cpu, memoryMiB }
    const libvirt = stack.use(await LibvirtGuest.open(options, 'host1'))
    lanes.push(libvirt.lane('libvirt, TLS', true), libvirt.lane('libvirt, no TLS', false))
  }
  for (const { guest } of lanes) await answers(guest.address)
  const samples = new Map<Lane, Sample[]>(lanes.map((lane) => [lane, []]))
  const control: Sample[] = []
  for (let round = 0; round <= runs; round++) {
    for (const lane of lanes) {
      const sample = await measure(lane, () => lane.move())
      await lane.guest.tidy?.()
      // The first move of each is not counted: caches of files and names fill.
      if (round > 0) samples.get(lane)?.push(sample)
      process.stderr.write(`${round}/${runs} ${lane.name}: ${JSON.stringify(sample)}\n`)
    }
    const [still] = lanes
    if (round > 0 && still !== undefined) control.push(await measure(still, () => stay(still.guest.host)))
  }
  tables(samples, control, absent)
}

async function stay(host: string): Promise<Moved> {
  await sleep(controlMs - calmMs)
  return { source: host, target: host, wholeMs: 0, memoryMs: null, stopAt: null, resumeAt: null }
}

/** The command line of the only QEMU that the host runs. */
async function commandLine(host: string): Promise<string[]> {
  const [pid = 0] = await lab.lab.qemus(host)
  const text = await lab.lab.ports.files.readText(`/proc/${pid}/cmdline`)
  return text.split('\0').slice(0, -1)
}

async function measure(lane: Lane, work: () => Promise<Moved>): Promise<Sample> {
  const { guest } = lane
  const hosts = [guest.host, lab.other(guest.host)] as const
  await using stack = new AsyncDisposableStack()
  const client = stack.use(await GuestClient.open(guest.address))
  const captures = [
    await Capture.start([...lab.netPrefix(hosts[0])], lab.uplink, guest.mac, `${folder}/source.pcap`),
    await Capture.start([...lab.netPrefix(hosts[1])], lab.uplink, guest.mac, `${folder}/target.pcap`),
    await Capture.start(['nice', '-n', '0'], lab.clientDevice, guest.mac, `${folder}/client.pcap`),
  ]
  await sleep(calmMs)
  const before = await lab.sentBytes(hosts[0], 'storage')
  const moved = await work()
  const bytes = (await lab.sentBytes(hosts[0], 'storage')) - before
  await sleep(calmMs)
  const { lost } = client
  const frames: Frame[][] = []
  for (const capture of captures) frames.push(await capture.stop())
  const [source = [], target = [], seen = []] = frames
  const stream = longestSilence(deliveries(seen))
  return {
    ...moved,
    ...partsOf(moved, source, target, seen),
    silenceAfterStop: moved.stopAt === null ? null : stream.from - moved.stopAt,
    streamMs: stream.ms,
    pingMs: longestSilence(pingReplies(seen)).ms,
    bytes,
    lost,
  }
}

function partsOf(moved: Moved, source: Frame[], target: Frame[], seen: Frame[]): Omit<Parts, 'silenceAfterStop'> {
  const { stopAt, resumeAt } = moved
  const isOwn = ({ kind }: Frame): boolean => kind !== 'announcement'
  const last = source.findLast((frame) => isOwn(frame) && (stopAt === null || frame.at <= stopAt + 1))?.at
  const announced = target.find(({ kind }) => kind === 'announcement')?.at
  // Before that, what arrives from the old host passes there too.
  const begins = resumeAt ?? announced ?? Number.POSITIVE_INFINITY
  const first = target.find((frame) => isOwn(frame) && frame.at >= begins)?.at
  const read = first === undefined ? undefined : deliveries(seen).find((at) => at >= first)
  const since = (from: number | null | undefined, to: number | null | undefined): number | null =>
    from == null || to == null ? null : to - from
  return {
    beforeStop: since(last, stopAt),
    standing: since(stopAt, resumeAt),
    toAnnouncement: since(resumeAt, announced),
    toFirstFrame: since(resumeAt, first),
    toStream: since(first, read),
  }
}

function tables(samples: Map<Lane, Sample[]>, control: Sample[], absent: string | undefined): void {
  const row = (pick: (sample: Sample) => number | null, withControl = false) => {
    const rows = [...samples].map(([lane, all]) => ({
      name: lane.name,
      values: all.map(pick).filter((value) => value !== null),
    }))
    return [
      ...rows,
      ...(absent === undefined ? [] : [{ name: 'libvirt', values: [], absent }]),
      ...(withControl ? [{ name: 'no move at all', values: control.map(pick).filter((value) => value !== null) }] : []),
    ]
  }
  const base = 'bare QMP, TLS'
  report.add({ title: 'longest silence, TCP', unit: 'ms', base, rows: row((one) => one.streamMs, true) })
  report.add({ title: 'longest silence, ping', unit: 'ms', base, rows: row((one) => one.pingMs, true) })
  report.add({ title: 'the whole move', unit: 'ms', base, rows: row((one) => one.wholeMs) })
  report.add({ title: 'memory sent in', unit: 'ms', base, rows: row((one) => one.memoryMs) })
  report.add({ title: 'bytes on the wire', unit: 'MiB', base, rows: row((one) => one.bytes / 2 ** 20) })
  const parts = {
    'last frame to STOP': (one: Sample) => one.beforeStop,
    'STOP to RESUME': (one: Sample) => one.standing,
    'RESUME to announcement': (one: Sample) => one.toAnnouncement,
    'RESUME to first frame': (one: Sample) => one.toFirstFrame,
    'first frame to stream': (one: Sample) => one.toStream,
    'silence begins after STOP': (one: Sample) => one.silenceAfterStop,
  }
  for (const [title, pick] of Object.entries(parts)) {
    report.add({ title, unit: 'ms', base, rows: row(pick).filter(({ values }) => values.length > 0) })
  }
  const lost = [...samples.values(), control].flat().filter((sample) => sample.lost !== undefined).length
  report.fact('connections lost', lost)
}

/** One connection over many moves in a row, to an idle and to a busy guest. */
async function connectionsHeld(): Promise<void> {
  for (const kind of ['idle', 'busy'] as const) {
    const kernel = { kernel: 'busybox-kernel', initrd: 'busybox-initrd', cmdline: lab.lab.guest?.cmdline ?? '' }
    const cmdline = kind === 'busy' ? `${kernel.cmdline} hf.dirty=${dirty}` : kernel.cmdline
    const vm = await lab.lab.createVm({ name: kind, nics: [{ network: 'default' }], kernel: { ...kernel, cmdline } })
    const lane = new HoldfastGuest(lab, vm)
    await answers(lane.address)
    await using client = await GuestClient.open(lane.address, false)
    const whole: number[] = []
    for (let move = 1; move <= held && client.lost === undefined; move++) {
      whole.push((await lane.move()).wholeMs)
      process.stderr.write(`${kind} ${move}/${held}: ${whole.at(-1)?.toFixed(0) ?? ''} ms\n`)
    }
    await sleep(calmMs)
    report.fact(`${kind} guest, one connection over ${whole.length} moves`, client.lost ?? 'never lost')
    report.add({ title: `moves of the ${kind} guest`, unit: 'ms', base: kind, rows: [{ name: kind, values: whole }] })
    const stop = await lab.lab.client.call('stopVm', { params: { vm: vm.id }, body: {} })
    await lab.lab.finish(stop)
  }
}
