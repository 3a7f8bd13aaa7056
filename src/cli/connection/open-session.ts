/** A session over the real or a simulated network. */
import { createClient } from '../../contracts/client.ts'
import type { Ports } from '../cli.ts'
import { makeSession, type Session } from './session.ts'
import type { Settings } from './settings.ts'

export function openSession(ports: Pick<Ports, 'network' | 'clock' | 'random'>, settings: Settings): Session {
  return makeSession(createClient(ports.network, settings), settings, ports)
}
