/**
 * Identity. Every object has a UUID (never changes, unknown to people) and a short id (`vm-42`, `host-9`), which the
 * store hands out in order and never uses again. Short ids are branded strings, so that a host id cannot be passed
 * where a VM id is expected.
 */
declare const brand: unique symbol

/** A string that only the right constructor can make. */
export type Branded<Name extends string> = string & { readonly [brand]: Name }

export type VmId = Branded<'vm'>
export type ManagerId = Branded<'manager'>
export type HostId = Branded<'host'>
export type DatastoreId = Branded<'ds'>
export type NetworkId = Branded<'net'>
export type ImageId = Branded<'img'>
export type DiskId = Branded<'disk'>
export type TaskId = Branded<'task'>
export type TokenId = Branded<'token'>
export type ClusterId = Branded<'cluster'>
export type DatacenterId = Branded<'dc'>
export type FolderId = Branded<'folder'>
export type PoolId = Branded<'pool'>
export type ProjectId = Branded<'project'>
export type AlarmId = Branded<'alarm'>
/** Who is told of alarms. */
export type TargetId = Branded<'target'>
export type DeliveryId = Branded<'delivery'>
export type RuleId = Branded<'rule'>

/** Kind of object → prefix of its short ids. */
export const idPrefixes = {
  vm: 'vm',
  host: 'host',
  datastore: 'ds',
  network: 'net',
  image: 'img',
  disk: 'disk',
  task: 'task',
  token: 'token',
  cluster: 'cluster',
  datacenter: 'dc',
  folder: 'folder',
  pool: 'pool',
  project: 'project',
  manager: 'manager',
  alarm: 'alarm',
  target: 'target',
  delivery: 'delivery',
  rule: 'rule',
} as const

export type ObjectKind = keyof typeof idPrefixes

/** Whether `text` has the form of a short id of `kind`. Names of that form are refused, so that a word is never both. */
export function isShortId(kind: ObjectKind, text: string): boolean {
  return new RegExp(`^${idPrefixes[kind]}-[1-9][0-9]{0,15}$`).test(text)
}

/** The number in a short id: 42 for `vm-42`. */
export function idNumber(id: string): number {
  return Number(id.slice(id.lastIndexOf('-') + 1))
}
