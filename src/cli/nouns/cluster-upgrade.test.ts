import assert from 'node:assert/strict'
import { test } from 'node:test'
import { doneWords } from './cluster-upgrade.ts'

const host = { back: 2, stayed: [], alone: [] }

test('the end of a roll says what moved back, what did not and why, and what has no second copy', () => {
  assert.equal(doneWords({ result: { hosts: [host, host] } }), '2 hosts renewed, 4 VMs moved back')
  const stayed = [{ name: 'web', reason: 'it is stopped' }]
  assert.equal(
    doneWords({
      result: {
        hosts: [
          { ...host, stayed, alone: ['earlier'] },
          { ...host, alone: ['db'] },
        ],
      },
    }),
    '2 hosts renewed, 4 VMs moved back\nwithout a second copy, since their hosts differ: db\nweb stays where it is: it is stopped',
  )
})
