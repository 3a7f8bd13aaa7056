/** Other programs, passed in. */
export interface RunOptions {
  readonly cwd?: string
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Uint8Array
  /** Aborting sends SIGTERM, and SIGKILL two seconds later; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Called with each chunk of standard output (or error) as it comes, for progress. */
  readonly onStdout?: (text: string) => void
  readonly onStderr?: (text: string) => void
  /** What is kept of each stream at most; the rest is dropped from the front. Default 4 MiB. */
  readonly maxOutputBytes?: number
}

export interface RunResult {
  /** Exit code; 128 + signal number when a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface DetachedOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Standard output and error are appended to this file. */
  readonly logFile: string
  /** File descriptors of this process that the child inherits as 3, 4, … */
  readonly inheritFds?: readonly number[]
}

/** Names one process for ever: pid numbers are used again, a start time with them is not. */
export interface ProcessId {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTicks: number
}

export interface Processes {
  /** Runs to the end. A non-zero exit is a value, not an error; a program that cannot be started rejects. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Starts in a session of its own and lets go of it: it lives on when this process ends. */
  startDetached(command: string, args: readonly string[], options: DetachedOptions): Promise<ProcessId>
  /** The identity of a running process; undefined when there is none with this pid (a zombie counts as none). */
  identify(pid: number): Promise<ProcessId | undefined>
  isAlive(id: ProcessId): Promise<boolean>
  /** Sends a signal to exactly this process; false when it is already gone. */
  signal(id: ProcessId, signal: NodeJS.Signals): Promise<boolean>
  /** Resolves when the process is gone (reaped or never there). */
  waitGone(id: ProcessId, signal?: AbortSignal): Promise<void>
}
