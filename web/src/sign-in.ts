/** Signing in by a one-use code: from the link (`/#code=…`), or typed in. */
import { api } from './api.ts'
import { h } from './dom.ts'

/** Takes the code out of the address, so that it stays neither in sight nor in the history. */
export function takeCode(): string | null {
  const code = new URLSearchParams(location.hash.slice(1)).get('code')
  if (location.hash !== '') history.replaceState(null, '', location.pathname)
  return code
}

export function signInPanel(onSignedIn: () => void, reason: string | null): HTMLElement {
  const input = h('input', { attributes: { name: 'code', autocomplete: 'off', 'aria-label': 'sign-in code' } })
  const problem = h('p', { class: 'problem' }, reason ?? '')
  const form = h(
    'form',
    { class: 'card narrow' },
    h('h2', {}, 'Sign in'),
    h('p', { class: 'hint' }, 'Open the link that the command line made for you, or enter its code. Each works once.'),
    h('p', {}, input, h('button', {}, 'Sign in')),
    problem,
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    // A whole link works too.
    const code = input.value.trim().replace(/^.*#code=/, '')
    api.signIn(code).then(onSignedIn, (thrown: unknown) => {
      problem.textContent = thrown instanceof Error ? thrown.message : String(thrown)
    })
  })
  return form
}
