/** Codes with which a console's WebSocket closes (RFC 6455 leaves 4000–4999 to applications). */
export const consoleCloseCodes = {
  /** The VM runs elsewhere now, or its screen's connection ended: ask for a new ticket and connect again. */
  moved: 4001,
  /** The VM does not run any more, or was out of reach for long. */
  ended: 4002,
  /** The other side read too slowly. */
  tooSlow: 4003,
} as const
