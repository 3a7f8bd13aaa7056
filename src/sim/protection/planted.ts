/** Faults of the protocol itself, planted to prove that the search sees them. */
export const plantedProtection = [
  /** Output leaves as soon as its epoch is sent. */
  'releases-before-ack',
  /** An arbiter that keeps no register. */
  'arbiter-says-yes-to-all',
  /** A second that applies all but the newest epoch that it acknowledged. */
  'forgets-last-epoch',
  /** A new arbiter decides before both sides have left the old one. */
  'opens-before-promise',
  /** A primary that goes over to a new arbiter before that is durable. */
  'adopts-before-durable',
] as const
export type PlantedProtection = (typeof plantedProtection)[number]
