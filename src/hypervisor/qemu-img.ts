/**
 * DiskImages by qemu-img. Images are hostile input: their headers are looked at by ourselves first (image-header.ts), the
 * driver is always named and never guessed, no file but the image itself is opened, and qemu-img has bounded memory and
 * time. Image locks are respected everywhere.
 */
import { dirname, join } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { Processes, RunOptions, RunResult } from '../base/processes.ts'
import { GiB } from '../base/units.ts'
import {
  footerBytes,
  formatByContent,
  headerBytes,
  imageFormats,
  readHeader,
  type ImageFormat,
} from './image-header.ts'
import type { DiskImages, ImageInfo } from './images.ts'

export interface QemuImgDeps {
  readonly processes: Processes
  readonly files: Files
}

/** Reading a header takes milliseconds; more than this is an attack or a broken disk. */
const infoLimits = { memoryBytes: 1 * GiB, cpuSeconds: 30 }
/** qcow2 tables of a 16 TiB image take 2 GiB; a copy's time depends on its size. */
const workLimits = { memoryBytes: 4 * GiB, cpuSeconds: null }

export function qemuDiskImages(deps: QemuImgDeps): DiskImages {
  const images = new QemuImg(deps)
  return images
}

class QemuImg implements DiskImages {
  readonly #processes: Processes
  readonly #files: Files

  constructor({ processes, files }: QemuImgDeps) {
    this.#processes = processes
    this.#files = files
  }

  async info(path: string, format?: string): Promise<ImageInfo> {
    const stat = await this.#files.stat(path)
    if (stat?.kind !== 'file') throw new HoldfastError('not-found', `there is no image ${path}`)
    const { head, tail } = await this.#ends(path, stat.sizeBytes)
    const header = readHeader(format === undefined ? formatByContent(head, tail) : known(format), head, tail)
    if (header === undefined)
      throw new HoldfastError('bad-image', `${path} is not of the format ${format ?? 'that it claims'}`)
    const fileBytes = stat.allocatedBytes
    // Such an image is never handed to a program that would open what it names.
    if (header.hasOutsideReference) return { ...header, virtualBytes: 0, fileBytes }
    if (header.format === 'raw') return { ...header, virtualBytes: stat.sizeBytes, fileBytes }
    const result = await this.#run(['info', '--output=json', reference(path, header.format)], infoLimits)
    if (result.code !== 0) throw failure('cannot be read', path, result)
    const found = JSON.parse(result.stdout) as { 'virtual-size': number; 'backing-filename'?: string }
    return {
      ...header,
      virtualBytes: found['virtual-size'],
      fileBytes,
      backingFile: header.backingFile ?? found['backing-filename'] ?? null,
    }
  }

  async #ends(path: string, sizeBytes: number): Promise<{ head: Buffer; tail: Buffer }> {
    await using file = await this.#files.open(path, 'read')
    const head = await file.read(0, Math.min(headerBytes, sizeBytes))
    const tail = await file.read(Math.max(0, sizeBytes - footerBytes), Math.min(footerBytes, sizeBytes))
    return { head: Buffer.from(head), tail: Buffer.from(tail) }
  }

  async create(path: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void> {
    await this.#make(path, async (beside) => {
      const result = await this.#run(['create', '-q', '-f', format, beside, String(sizeBytes)], infoLimits)
      if (result.code !== 0) throw failure('cannot be created', path, result)
    })
  }

  async convert(
    from: { path: string; format: string },
    to: { path: string; format: 'qcow2' | 'raw' },
    onProgress: (fraction: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const info = await this.info(from.path, from.format)
    if (info.hasOutsideReference) {
      throw new HoldfastError('bad-image', `${from.path} refers to other files`, {
        mend: 'Flatten the image first: `qemu-img convert` on the machine that has all of its files.',
      })
    }
    await this.#make(to.path, async (beside) => {
      const source = reference(from.path, known(from.format))
      // `-t writeback` makes qemu-img flush at the end; its default for copies never does.
      const args = ['convert', '-p', '-m', '8', '-t', 'writeback', '-O', to.format, source, beside]
      const result = await this.#run(args, workLimits, { signal, onStdout: (text) => progress(text, onProgress) })
      if (result.code !== 0) throw failure('cannot be copied', from.path, result)
    })
    onProgress(1)
  }

  async grow(path: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void> {
    const before = await this.info(path, format)
    if (sizeBytes < before.virtualBytes)
      throw new HoldfastError('refused', `a disk of ${before.virtualBytes} bytes cannot shrink to ${sizeBytes}`)
    const result = await this.#run(['resize', '-q', reference(path, format), String(sizeBytes)], workLimits)
    if (result.code !== 0) throw failure('cannot grow', path, result)
    await using file = await this.#files.open(path, 'read-write')
    await file.sync()
  }

  async check(path: string, format: string): Promise<void> {
    const { hasOutsideReference } = await this.info(path, format)
    if (hasOutsideReference) throw new HoldfastError('bad-image', `${path} refers to other files`)
    if (format === 'raw') return
    const result = await this.#run(['check', '-q', '--output=json', reference(path, known(format))], workLimits)
    // 3: clusters that nothing uses, which costs space only; 63: the format has no check.
    if (![0, 3, 63].includes(result.code)) throw failure('is damaged', path, result)
  }

  /** Whole and durable under its name, or not at all. */
  async #make(path: string, fill: (beside: string) => Promise<void>): Promise<void> {
    if ((await this.#files.stat(path)) !== undefined) throw new HoldfastError('wrong-state', `${path} exists already`)
    const beside = join(dirname(path), `.${path.slice(dirname(path).length + 1)}.part`)
    await this.#files.remove(beside)
    try {
      await fill(beside)
      {
        await using file = await this.#files.open(beside, 'read-write')
        await file.sync()
      }
      await this.#files.rename(beside, path)
    } catch (thrown) {
      await this.#files.remove(beside)
      if (fileErrorCode(thrown) === 'ENOSPC')
        throw new HoldfastError('no-space', `no space for ${path}`, {}, { cause: thrown })
      throw thrown
    }
  }

  async #run(
    args: readonly string[],
    limits: { memoryBytes: number; cpuSeconds: number | null },
    options: RunOptions = {},
  ): Promise<RunResult> {
    const bounds = [
      `--as=${limits.memoryBytes}`,
      '--core=0',
      ...(limits.cpuSeconds === null ? [] : [`--cpu=${limits.cpuSeconds}`]),
    ]
    // It dies with the agent: what it still made after that nobody would own.
    const program = ['setpriv', '--pdeathsig', 'KILL', '--', 'qemu-img']
    return await this.#processes.run('prlimit', [...bounds, '--', ...program, ...args], {
      env: { LC_ALL: 'C' },
      ...options,
    })
  }
}

/** The image with its driver, and with no file below it whatever its header says. */
function reference(path: string, format: ImageFormat): string {
  return `json:${JSON.stringify({ driver: format, backing: null, file: { driver: 'file', filename: path } })}`
}

function known(format: string): ImageFormat {
  const found = imageFormats.find((name) => name === format)
  if (found === undefined)
    throw new HoldfastError('bad-image', `images of the format "${format}" are not read`, { formats: imageFormats })
  return found
}

function progress(text: string, onProgress: (fraction: number) => void): void {
  for (const [, percent] of text.matchAll(/\(([0-9.]+)\/100%\)/g)) onProgress(Math.min(1, Number(percent) / 100))
}

function failure(what: string, path: string, result: RunResult): HoldfastError {
  const said =
    result.stderr
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^qemu-img: /, '') ?? ''
  const message = `${path} ${what}${said === '' ? ` (qemu-img ended with ${result.code})` : `: ${said}`}`
  if (/No space left on device/.test(result.stderr)) return new HoldfastError('no-space', message)
  if (/Failed to get .*lock/.test(result.stderr))
    return new HoldfastError('wrong-state', message, { mend: 'It is in use: stop its VM first.' })
  if (/No such file/.test(result.stderr)) return new HoldfastError('not-found', message)
  return new HoldfastError('bad-image', message)
}
