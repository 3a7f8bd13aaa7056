/** Figures of the rolling renewal of hosts that clients need too. */

/** From when a host is empty until it is back. */
export const defaultHostUpgradeSeconds = 1800
