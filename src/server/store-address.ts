/** Where an inventory is, as people write it. Pure. */
import { HoldfastError } from '../base/errors.ts'
import type { StorePlace } from '../contracts/manager-join.ts'

const defaultPrefix = 'holdfast/'
const form = 'Write it as etcd://ADDRESS:PORT,ADDRESS:PORT,ADDRESS:PORT, or sqlite for the one in the data folder.'

/** Undefined: SQLite. Throws `invalid-request` for what is neither. */
export function parseStoreAddress(text: string): StorePlace | undefined {
  if (text === 'sqlite') return undefined
  const match = /^(etcds?):\/\/([^/]+)(\/.*)?$/.exec(text)
  if (match === null) throw new HoldfastError('invalid-request', `${text} names no inventory`, { mend: form })
  const [, scheme, members = '', path = ''] = match
  const protocol = scheme === 'etcds' ? 'https' : 'http'
  const endpoints = members.split(',').map((member) => endpointOf(protocol, member))
  const name = path.replace(/^\/+|\/+$/g, '')
  if (!/^[A-Za-z0-9._/-]{0,200}$/.test(name)) {
    throw new HoldfastError('invalid-request', `${path} cannot be where an inventory lies in etcd`, {
      mend: 'Use letters, digits, dots, dashes, underscores and slashes.',
    })
  }
  return { kind: 'etcd', endpoints: [...new Set(endpoints)], prefix: name === '' ? defaultPrefix : `${name}/` }
}

function endpointOf(protocol: string, member: string): string {
  const url = `${protocol}://${member}`
  const isPort = /:[0-9]{1,5}$/.test(member)
  if (isPort && URL.canParse(url) && new URL(url).pathname === '/' && !member.includes('@')) return url
  throw new HoldfastError('invalid-request', `${member} is no address of a member of etcd`, { mend: form })
}
