/** Whether something takes TCP connections, passed in. */
export interface TcpProbe {
  /**
   * Connects and closes at once. Null when the connection was taken; else why not, in words. Never rejects, and ends within
   * `timeoutMs`. `from`: the local address to ask from; null: whatever the way there says.
   */
  ask(
    to: { readonly address: string; readonly port: number; readonly from: string | null },
    timeoutMs: number,
  ): Promise<string | null>
}
