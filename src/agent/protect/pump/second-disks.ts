/** The second's own images: filled first from the primary, then by the journals of whole epochs. */
export interface SecondDisks {
  /** The first copy is over: nobody but this pump writes to them. */
  begin(): Promise<void>
  /** Makes an epoch's journal durable. */
  keep(epoch: number, journal: Uint8Array): Promise<void>
  /** Writes the journals that are kept to the images, in order. May be called without waiting for the one before. */
  apply(epoch: number): Promise<void>
  /** Everything that was kept is in the images and flushed; they are the waiting QEMU's own. */
  finish(): Promise<void>
}

export const noSecondDisks: SecondDisks = {
  begin: () => Promise.resolve(),
  keep: () => Promise.resolve(),
  apply: () => Promise.resolve(),
  finish: () => Promise.resolve(),
}
