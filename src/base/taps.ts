/** Tap interfaces, passed in. */
export interface OpenTap extends AsyncDisposable {
  /** To be inherited by the program that serves the tap. Disposing closes our copy; the interface stays. */
  readonly fd: number
}

export interface Taps {
  /**
   * Opens a tap that exists (persistent, of our network namespace), with virtio headers. Rejects with `not-found` when
   * there is none of this name, and with `wrong-state` when another process holds it.
   */
  open(name: string): Promise<OpenTap>
}
