/** What can be said of a scenario's world at one instant: `after`, `holds`, `held` and `settled` of its file. */
import type { Stage } from './stage.ts'
import { readSentence, type Form, type Read } from './forms.ts'
import type { Names } from './words.ts'

/** Undefined: it is so; otherwise how it is instead. */
type Look = (stage: Stage, args: readonly string[]) => string | undefined | Promise<string | undefined>
export type StateForm = Form<Look>

const found = (text: string): string => (text === '' ? 'nowhere' : text)

export const stateForms: readonly StateForm[] = [
  {
    form: 'VMS on SOME',
    act: (stage, [vms = '', hosts = '']) => {
      for (const vm of vms.split(',')) {
        const on = stage.runsOn(vm)
        const isThere = on.length === 1 && (hosts === '*' || hosts.split('|').includes(on[0] ?? ''))
        if (!isThere) return `${vm} runs ${found(on.join())}`
      }
      return undefined
    },
  },
  {
    form: 'VMS down',
    act: (stage, [vms = '']) => {
      const runs = vms.split(',').filter((vm) => stage.runsOn(vm).length > 0)
      return runs.length === 0 ? undefined : `${runs.join()} runs on ${runs.flatMap((vm) => stage.runsOn(vm)).join()}`
    },
  },
  {
    form: 'VMS booted NUMBER times',
    act: (stage, [vms = '', times = '']) => {
      const [least = 0, most = least] = times.split('..').map(Number)
      const counts = vms.split(',').map((vm) => `${vm} ${stage.boots(vm)} times`)
      const isSo = vms.split(',').every((vm) => stage.boots(vm) >= least && stage.boots(vm) <= most)
      return isSo ? undefined : `booted since the first step: ${counts.join()}`
    },
  },
  {
    form: 'VMS (apart|together)',
    act: (stage, [vms = '', how = '']) => {
      const on = vms.split(',').map((vm) => stage.runsOn(vm).join())
      const wanted = how === 'apart' ? on.length : 1
      return new Set(on).size === wanted && !on.includes('') ? undefined : `they run on ${on.map(found).join()}`
    },
  },
  {
    form: 'VM gone',
    act: async (stage, [vm = '']) =>
      (await stage.world.store.get('vm', stage.id(vm))) === undefined ? undefined : 'it is there',
  },
  {
    form: 'VM says nothing',
    act: async (stage, [vm = '']) => {
      const problem = (await stage.shown(vm))?.problem ?? null
      return problem === null ? undefined : `it says: ${problem}`
    },
  },
  {
    form: 'VM says …',
    act: async (stage, [vm = '', words = '']) => {
      const problem = (await stage.shown(vm))?.problem ?? ''
      return problem.includes(words) ? undefined : `it says: ${problem}`
    },
  },
  {
    form: 'VM wanted (on|off)',
    act: async (stage, [vm = '', power = '']) => {
      const record = (await stage.world.store.get('vm', stage.id(vm)))?.value
      return record?.power === power ? undefined : `it is to be ${record?.power ?? 'gone'}`
    },
  },
  {
    form: 'guest VM (outgoing|sent|incoming|running|paused) on HOST',
    act: (stage, [vm = '', state = '', host = '']) => {
      const now = stage.host(host).guest(stage.id(vm))?.state ?? 'not there'
      return now === state ? undefined : `it is ${now}`
    },
  },
  {
    form: 'HOSTS (off|powered)',
    act: (stage, [hosts = '', how = '']) => {
      const wrong = stage.hosts(hosts).filter(({ isOn }) => isOn !== (how === 'powered'))
      return wrong.length === 0 ? undefined : `${wrong.map(({ name }) => name).join()}: not so`
    },
  },
  {
    form: 'HOST maintenance (on|off|entering)',
    act: async (stage, [host = '', mode = '']) => {
      const record = (await stage.world.store.get('host', stage.host(host).id))?.value
      return record?.maintenance === mode ? undefined : `it is ${record?.maintenance ?? 'gone'}`
    },
  },
  {
    form: '(alarm|silence) ALARM SUBJECT',
    act: async (stage, [kind = '', type = '', subject = '']) => {
      const { items } = await stage.world.store.list('alarm')
      const isOpen = items.some(
        ({ value }) => value.type === type && value.subject.name === subject && value.state !== 'cleared',
      )
      return isOpen === (kind === 'alarm') ? undefined : `there is ${isOpen ? 'one' : 'none'}`
    },
  },
]

export function readState(text: string, names: Names): Read<StateForm> | { readonly wrong: string } {
  return readSentence(text, stateForms, names)
}
