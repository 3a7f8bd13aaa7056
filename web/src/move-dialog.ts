/** Choosing the host that a VM moves to. The manager says for each whether it could take the VM, and why not. */
import type { Host, Vm } from '../../src/contracts/inventory.ts'
import { api } from './api.ts'
import { h, notice } from './dom.ts'

export function openMoveDialog(vm: Vm, hosts: readonly Host[], onAsked: () => void): void {
  const dialog = h('dialog', { attributes: { 'aria-label': `Move ${vm.name}` } })
  const others = hosts.filter((host) => host.id !== vm.hostId)
  const choices = others.map((host) => choiceOf(vm, host, () => void move(host)))
  const move = async (host: Host): Promise<void> => {
    dialog.close()
    try {
      await api.migrate(vm.id, host.id)
    } catch (thrown) {
      notice(thrown instanceof Error ? thrown.message : String(thrown))
    }
    onAsked()
  }
  dialog.append(
    h('h3', {}, `Move ${vm.name}`),
    h('p', { class: 'hint' }, `It runs on ${vm.host ?? 'no host'} and goes on running while it moves.`),
    ...(choices.length === 0 ? [h('p', {}, 'There is no other host.')] : choices),
    h('p', { class: 'buttons' }, h('button', { class: 'quiet', onClick: () => dialog.close() }, 'Leave it')),
  )
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}

function choiceOf(vm: Vm, host: Host, onChoose: () => void): HTMLElement {
  const button = h('button', { onClick: onChoose, attributes: { disabled: '' } }, host.name)
  const why = h('span', { class: 'hint' }, 'checking …')
  api.precheck(vm.id, host.id).then(
    (checked) => {
      button.disabled = !checked.isPossible
      why.textContent = checked.isPossible ? 'can take it' : checked.reasons.map((reason) => reason.message).join('; ')
    },
    (thrown: unknown) => {
      why.textContent = thrown instanceof Error ? thrown.message : String(thrown)
    },
  )
  return h('p', { class: 'choice' }, button, why)
}
