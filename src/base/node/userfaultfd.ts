/** Knowing what a process writes by userfaultfd's asynchronous write protection and PAGEMAP_SCAN (Linux 6.7). */
import { open as openFile, readdir, readlink, type FileHandle } from 'node:fs/promises'
import koffi from 'koffi'
import { HoldfastError } from '../errors.ts'
import { pageBytes, type MemoryRange, type ProcessMemory, type WriteTracking } from '../process-memory.ts'
import { libc } from './libc.ts'
import { withRemoteCalls } from './remote-calls.ts'

/** From linux/userfaultfd.h. */
const UFFD_USER_MODE_ONLY = 1n
const [UFFDIO_API, UFFDIO_REGISTER] = [0xc018aa3fn, 0xc020aa00n]
const apiVersion = 0xaan
const features = (1n << 12n) /* WP_HUGETLBFS_SHMEM */ | (1n << 13n) /* WP_UNPOPULATED */ | (1n << 15n) /* WP_ASYNC */
const MODE_WP = 2n
const [O_CLOEXEC, O_NONBLOCK] = [0o2000000n, 0o4000n]
/** System calls of x86-64. */
const [IOCTL, CLOSE, USERFAULTFD] = [16n, 3n, 323n]
/** From linux/fs.h. */
const PAGEMAP_SCAN = 0xc0606610n
const [PM_SCAN_WP_MATCHING, PM_SCAN_CHECK_WPASYNC] = [1n, 2n]
const PAGE_IS_WRITTEN = 2n
const regionBytes = 24
const mostRegions = 16_384

/** What is noted already by one who is gone is taken over. */
export async function trackByUserfaultfd(
  pid: number,
  memory: Pick<ProcessMemory, 'read'>,
  ranges: readonly MemoryRange[],
): Promise<WriteTracking> {
  const pagemap = await openFile(`/proc/${pid}/pagemap`, 'r')
  try {
    const remoteFd = (await trackedBefore(pid)) ?? (await register(pid, ranges))
    return new PagemapTracking(pid, memory, pagemap, ranges, remoteFd)
  } catch (thrown) {
    await pagemap.close()
    throw thrown
  }
}

/** The descriptor of one who tracked it before us and is gone; QEMU holds no userfaultfd of its own while it runs a guest. */
async function trackedBefore(pid: number): Promise<bigint | undefined> {
  const folder = `/proc/${pid}/fd`
  for (const name of await readdir(folder)) {
    const target = await readlink(`${folder}/${name}`).catch(() => '')
    if (target === 'anon_inode:[userfaultfd]') return BigInt(name)
  }
  return undefined
}

async function register(pid: number, ranges: readonly MemoryRange[]): Promise<bigint> {
  return await withRemoteCalls(pid, async ({ call, put }) => {
    const fd = await call(USERFAULTFD, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)
    if (fd < 0n) throw unsupported(pid, `userfaultfd is refused (errno ${-fd})`)
    try {
      const api = await call(IOCTL, fd, UFFDIO_API, await put(words(apiVersion, features, 0n)))
      if (api < 0n) throw unsupported(pid, `the kernel has no asynchronous write protection (errno ${-api})`)
      for (const { start, bytes } of ranges) {
        const range = await put(words(BigInt(start), BigInt(bytes), MODE_WP, 0n))
        const result = await call(IOCTL, fd, UFFDIO_REGISTER, range)
        if (result < 0n) throw unsupported(pid, `its memory at ${start} cannot be tracked (errno ${-result})`)
      }
      return fd
    } catch (thrown) {
      await call(CLOSE, fd)
      throw thrown
    }
  })
}

function unsupported(pid: number, why: string): HoldfastError {
  return new HoldfastError('refused', `writes of process ${pid} cannot be tracked: ${why}`, {
    mend: 'Linux 6.7 or newer is needed for this way; others take its place on older ones.',
  })
}

class PagemapTracking implements WriteTracking {
  readonly kind = 'userfaultfd'
  readonly needsStandstill = false
  readonly #pid: number
  readonly #memory: Pick<ProcessMemory, 'read'>
  readonly #pagemap: FileHandle
  readonly #ranges: readonly MemoryRange[]
  readonly #remoteFd: bigint
  readonly #regions = Buffer.alloc(mostRegions * regionBytes)
  readonly #argument = new BigUint64Array(12)
  /** What was noted before is of no meaning to whoever begins now. */
  #isFirst = true

  constructor(
    pid: number,
    memory: Pick<ProcessMemory, 'read'>,
    pagemap: FileHandle,
    ranges: readonly MemoryRange[],
    remoteFd: bigint,
  ) {
    this.#pid = pid
    this.#memory = memory
    this.#pagemap = pagemap
    this.#ranges = ranges
    this.#remoteFd = remoteFd
  }

  take(): MemoryRange[] {
    const written = this.#ranges.flatMap((range) => this.#scan(range, { forgets: true, mostPages: 0 }))
    if (!this.#isFirst) return written
    this.#isFirst = false
    return this.#ranges.map(({ start, bytes }) => ({ start, bytes: Math.ceil(bytes / pageBytes) * pageBytes }))
  }

  count(most: number): number {
    let pages = 0
    for (const range of this.#ranges) {
      if (pages >= most) break
      for (const { bytes } of this.#scan(range, { forgets: false, mostPages: most - pages })) pages += bytes / pageBytes
    }
    return pages
  }

  read(address: number, into: Uint8Array): void {
    this.#memory.read(address, into)
  }

  async stop(): Promise<void> {
    try {
      await withRemoteCalls(this.#pid, ({ call }) => call(CLOSE, this.#remoteFd))
    } finally {
      await this.#pagemap.close()
    }
  }

  /** `mostPages`: it ends when it has found so many; 0: it looks at all. */
  #scan({ start, bytes }: MemoryRange, how: { forgets: boolean; mostPages: number }): MemoryRange[] {
    const found: MemoryRange[] = []
    const end = BigInt(start + bytes)
    const flags = how.forgets ? PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC : PM_SCAN_CHECK_WPASYNC
    for (let from = BigInt(start); from < end;) {
      // struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages, and four masks of categories.
      const vector = koffi.address(this.#regions)
      this.#argument.set([96n, flags, from, end, 0n, vector])
      this.#argument.set([BigInt(mostRegions), BigInt(how.mostPages), 0n, PAGE_IS_WRITTEN, 0n, PAGE_IS_WRITTEN], 6)
      const count = libc().ioctl(this.#pagemap.fd, PAGEMAP_SCAN, new Uint8Array(this.#argument.buffer))
      if (count < 0)
        throw new HoldfastError('host-error', `what process ${this.#pid} wrote cannot be read (errno ${-count})`)
      for (let index = 0; index < count; index++) found.push(this.#region(index))
      if (how.mostPages > 0) return found
      from = this.#argument[4] ?? end
    }
    return found
  }

  #region(index: number): MemoryRange {
    const start = Number(this.#regions.readBigUInt64LE(index * regionBytes))
    const end = Number(this.#regions.readBigUInt64LE(index * regionBytes + 8))
    return { start, bytes: end - start }
  }
}

function words(...values: readonly bigint[]): Uint8Array {
  return new Uint8Array(new BigUint64Array(values).buffer)
}
