import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { defaultProtectionSettings } from '../../contracts/protection.ts'
import { settingsFor } from './protection-settings.ts'

test('a mode says all settings, and what is given besides goes over it', () => {
  assert.equal(settingsFor({}), null)
  assert.deepEqual(settingsFor({ mode: 'latency' }), defaultProtectionSettings)
  const throughput = settingsFor({ mode: 'throughput' })
  assert.ok(throughput !== null && throughput.shortestEpochMs > 2 * defaultProtectionSettings.shortestEpochMs)
  const before = { ...defaultProtectionSettings, silenceMs: 900 }
  assert.deepEqual(settingsFor({ settings: { beatMs: 100 } }, before), { ...before, beatMs: 100 })
})

test('settings that contradict each other are refused', () => {
  for (const settings of [{ shortestEpochMs: 600 }, { beatMs: 400 }, { longestEpochMs: 600 }]) {
    assert.throws(
      () => settingsFor({ settings }),
      (thrown: unknown) => thrown instanceof HoldfastError && thrown.code === 'invalid-request',
    )
  }
})
