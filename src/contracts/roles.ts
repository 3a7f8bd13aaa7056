/** Who may do what: each role includes those before it. Apart from the schemas, which take long to load. */
export const roles = ['reader', 'operator', 'administrator'] as const
export type Role = (typeof roles)[number]
