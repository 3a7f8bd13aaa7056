/**
 * The door of this room: what an agent can have QEMU do. One `Machine` is one QEMU process. Nothing here knows of
 * clusters, run records or managers. The real implementation is `qemu-hypervisor.ts`; the simulation has another one,
 * and both pass one shared suite.
 */

/** Everything about the guest's machine, resolved to this host: files, taps and sockets. Pure input of the command line. */
export interface MachineConfig {
  /** Names the process and its folder; letters, digits, dashes. */
  readonly name: string
  readonly uuid: string
  readonly machineType: string
  readonly machine: 'pc' | 'q35'
  readonly accelerator: 'kvm' | 'tcg'
  readonly cpuModel: string
  readonly cpuFeatures: readonly string[]
  readonly vcpus: number
  readonly memoryMiB: number
  readonly firmware:
    { readonly kind: 'bios' } | { readonly kind: 'uefi'; readonly nvramPath: string; readonly key: number }
  readonly video: 'std' | 'none'
  /** How disks and NICs can be driven; the channels and the random source are `legacy` where it is said at all. */
  readonly virtio?: 'transitional' | 'legacy' | undefined
  readonly disks: readonly MachineDisk[]
  readonly nics: readonly MachineNic[]
  readonly cdroms: readonly { readonly key: number; readonly path: string | null; readonly format: 'raw' | 'qcow2' }[]
  readonly kernelBoot: { readonly kernel: string; readonly initrd: string | null; readonly cmdline: string } | null
  /** Unprivileged user that QEMU runs as; its files must belong to it. Null: as the caller (tests only). */
  readonly runAs: { readonly uid: number; readonly gid: number } | null
  /** Folder of sockets, pid and log; must exist. Paths of unix sockets are at most 107 bytes. */
  readonly runDirectory: string
  /** cgroup v2 folder to start in; null: the caller's. */
  readonly cgroup: string | null
  /** Folder with ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, dh-params.pem; null: no TLS. */
  readonly tlsDirectory: string | null
}

export interface MachineDisk {
  readonly key: number
  readonly path: string
  readonly format: 'qcow2' | 'raw'
  readonly bus: 'virtio' | 'ide'
  readonly slot: string | null
  /** `none`: O_DIRECT, for storage that several hosts share; `writeback` otherwise. Flushes reach the device in both. */
  readonly cache: 'none' | 'writeback'
}

export interface MachineNic {
  readonly key: number
  readonly model: 'virtio' | 'e1000'
  readonly mac: string
  readonly slot: string
  /** Name of a tap that exists, is up, on its bridge, with its rules in place. */
  readonly tap: string
}

/** How QEMU stands, from its own words (`query-status`, `query-migrate`). */
export type MachineState =
  | 'prelaunch'
  | 'running'
  | 'paused'
  /** Waits for an incoming stream, or receives it. */
  | 'incoming'
  /** The whole state is here; the guest has not been let go. */
  | 'incoming-complete'
  | 'incoming-failed'
  | 'outgoing'
  /** The outgoing stream completed; the guest stands still here (QEMU: postmigrate). */
  | 'sent'
  /** The guest's kernel said that it has panicked; it stands still. A reset and `resume` begin it anew. */
  | 'panicked'
  /** The guest shut down or QEMU met an internal error; cannot run on. */
  | 'shutdown'
  | 'failed'
  /** No process any more. */
  | 'gone'

export type MachineEvent =
  /** vCPUs run, or may have run before QEMU ended. Told ahead of all other events, as soon as it is read. */
  | { readonly kind: 'ran' }
  | { readonly kind: 'state'; readonly state: MachineState }
  | { readonly kind: 'shutdown'; readonly byGuest: boolean }
  | { readonly kind: 'reset'; readonly byGuest: boolean }
  | {
      readonly kind: 'io-error'
      readonly diskKey: number | null
      readonly isNoSpace: boolean
      readonly isWrite: boolean
    }
  | { readonly kind: 'gone' }

export interface IncomingOptions {
  /** Address to listen on for the migration stream (and NBD); ports are chosen free. */
  readonly listenHost: string
  /** Distinguished or common name that the peer's certificate must bear; null: no TLS. */
  readonly peerTlsName: string | null
  /** Keys of the disks that a mirror will fill through NBD. */
  readonly nbdDisks: readonly number[]
  readonly allowPostCopy: boolean
  /** `complete`: vCPUs run as soon as the state is whole. `hold`: stay in `incoming-complete` until `resume`. */
  readonly then: 'complete' | 'hold'
  /** As the source is told; 0 or absent: one stream. */
  readonly multifdChannels?: number
  /** The guest stands paused at the source and is to stay so: nothing here lets it run before `resume`. */
  readonly isGuestPaused?: boolean
}

export interface IncomingEndpoint {
  readonly port: number
  readonly nbdPort: number | null
  readonly exports: readonly { readonly key: number; readonly name: string }[]
}

export interface OutgoingOptions {
  readonly host: string
  readonly port: number
  readonly nbdPort: number | null
  readonly exports: readonly { readonly key: number; readonly name: string }[]
  /** Name that the target's certificate must bear; null: no TLS. */
  readonly tlsName: string | null
  readonly maxBandwidth: number | null
  readonly downtimeLimitMs: number
  readonly autoConverge: boolean
  readonly allowPostCopy: boolean
  readonly multifdChannels: number
  readonly onProgress: (progress: OutgoingProgress) => void
  /** Called once, just before QEMU is told to begin post-copy: the record must say so first. A rejection keeps pre-copy. */
  readonly beforePostCopy: () => Promise<void>
}

export interface OutgoingProgress {
  readonly phase: 'disks' | 'memory' | 'switch' | 'post-copy'
  readonly fraction: number
  readonly doneBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
  readonly dirtyBytesPerSecond: number
  readonly remainingSeconds: number | null
}

/**
 * How an outgoing migration ended, as far as the source's QEMU knows.
 * - `sent`: every byte was handed over; the guest stands still here.
 * - `not-sent`: the stream never completed, so the target cannot have the state; the guest runs on here.
 * - `unknown`: QEMU died or stopped answering.
 */
export interface OutgoingResult {
  readonly outcome: 'sent' | 'not-sent' | 'unknown'
  readonly reason: string | null
  readonly totalMs: number
  readonly downtimeMs: number
  readonly ramBytes: number
  readonly diskBytes: number
}

/** One QEMU process. Methods reject with HoldfastError `hypervisor-error` (QEMU said no) or `unreachable` (it is gone or hangs). */
export interface Machine extends AsyncDisposable {
  readonly name: string
  readonly pid: number
  state(): Promise<MachineState>
  /** Calls back in order, from now on; dispose to end. `gone` is always the last. */
  onEvent(listener: (event: MachineEvent) => void): Disposable
  resume(): Promise<void>
  /** While `incoming`: vCPUs then stay still when the state is whole (`paused`), whatever `listen` was told. */
  pause(): Promise<void>
  reset(): Promise<void>
  /** Presses the ACPI power button. */
  powerButton(): Promise<void>
  nonMaskableInterrupt(): Promise<void>
  /** Ends QEMU: politely first, then SIGKILL; resolves when the process is reaped. Rejects with `timeout` when it cannot be. */
  quit(): Promise<void>
  /** Starts listening; only on a machine that was started with `incoming`. */
  listen(options: IncomingOptions): Promise<IncomingEndpoint>
  /**
   * On a machine that was started with `incoming`: lets the peer write the first copy of these disks, through NBD. Null
   * without disks: nothing listens then. `peerTlsName` as in `IncomingOptions`.
   */
  receiveCopies(options: {
    listenHost: string
    disks: readonly number[]
    peerTlsName: string | null
  }): Promise<{ port: number; exports: readonly { key: number; name: string }[] } | null>
  /**
   * While held, a pump stops and continues the guest many times a second: those events are not followed. False asks the
   * state anew, and follows them again.
   */
  setHeld(isHeld: boolean): Promise<void>
  /** Resolves with the outcome, whatever it is. Aborting cancels: the outcome is then usually `not-sent`, or `sent` if too late. */
  migrateOut(options: OutgoingOptions, signal: AbortSignal): Promise<OutgoingResult>
  /**
   * For a machine that was adopted while `outgoing`: nobody drives that migration any more. Cancels it, undoes its mirrors,
   * and says how it ended (`sent` where it was too late; one in post-copy is waited for).
   */
  settleOutgoing(): Promise<OutgoingResult>
  /**
   * Moves one disk of the running guest to another file that exists on this host; resolves when the guest writes only there.
   * `beforeSwitch` is called once, while the guest stands still and both files are equal and flushed: it records durably
   * that the new one counts from now on. When it rejects, the guest stays paused on the new file. Aborting before then
   * leaves the guest on the old one.
   */
  moveDisk(
    key: number,
    to: { path: string; format: 'qcow2' | 'raw' },
    onProgress: (done: number, total: number) => void,
    signal: AbortSignal,
    beforeSwitch?: () => Promise<void>,
  ): Promise<void>
  /**
   * For a machine that was adopted, or whose `moveDisk` failed: ends what is left of the move of this disk, and gives the
   * path of the file that the guest's disk is on. The guest may stand paused where the switch was cut short.
   */
  settleDiskMove(key: number): Promise<string>
  /** Tells the guest's networks where it is now (RARP), from the new host. */
  announce(): Promise<void>
  changeCdrom(key: number, image: { path: string; format: 'raw' | 'qcow2' } | null): Promise<void>
  /** PNG of the screen. */
  screenshot(): Promise<Uint8Array>
  /** The last bytes that the guest said on its serial line, at most so many. */
  serialTail(mostBytes: number): Promise<Uint8Array>
  /** A count of what the guest's disks were asked to do: while it stands, they were asked nothing. */
  diskOperations(): Promise<number>
  readonly serialSocket: string
  readonly vncSocket: string
  /** The channel to the agent in the guest, whether or not there is one; one at a time can hold it. */
  readonly guestAgentSocket: string
  usage(): Promise<{ cpuSeconds: number; rssMiB: number }>
  /** Lets go of the QMP connection; QEMU lives on. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface HypervisorFacts {
  /** 10.0.2 */
  readonly version: string
  /** What the distribution calls its build; empty or absent where it adds nothing. */
  readonly package?: string
  readonly machineTypes: readonly string[]
  readonly cpuModels: readonly string[]
  readonly accelerator: { readonly kind: 'kvm' | 'tcg'; readonly reason: string }
}

export interface Hypervisor {
  /** Asks QEMU itself, and probes KVM by really entering long mode; remembered until QEMU or the kernel changes. */
  facts(): Promise<HypervisorFacts>
  /** Starts QEMU with no vCPU running. `incoming`: waiting for `listen`. Rejects with what QEMU printed when it ends at once. */
  start(config: MachineConfig, mode: 'prelaunch' | 'incoming'): Promise<Machine>
  /** Finds a machine again by its folder, as after an agent's restart; undefined when its process is gone. */
  adopt(name: string, runDirectory: string): Promise<Machine | undefined>
}
