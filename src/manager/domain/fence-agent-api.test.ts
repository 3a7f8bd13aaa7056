import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agentInput, agentWords, checkOptions, isSecretOption, parseMetadata, powerOf } from './fence-agent-api.ts'

/** As fence-agents print it, shortened. */
const xml = `<?xml version="1.0" ?>
<!-- <parameter name="hidden"/> -->
<resource-agent name="fence_ipmilan" shortdesc="Fence agent for IPMI" >
<symlink name="fence_ilo4" shortdesc="Fence agent for HP iLO4"/>
<longdesc>Says "&lt;parameter name='fake'&gt;" in words.</longdesc>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]" />
		<content type="string" default="reboot"  />
	</parameter>
	<parameter name='ip' unique="0" required="1" obsoletes="ipaddr"><content type="string"  /></parameter>
	<parameter name="passwd" unique="0" required="0" deprecated="1"/>
	<parameter name="password" unique="0" required="0" obsoletes="passwd"/>
	<parameter name="password_script" unique="0" required="0"/>
	<parameter name="ipmitool_path" unique="0" required="0"/>
	<parameter name="debug_file" unique="0" required="0"/>
	<parameter name="username" unique="0" required="0"/>
</parameters>
<actions>
	<action name="on" automatic="0"/>
	<action name="off" />
	<action name="status" />
</actions>
</resource-agent>`

const metadata = parseMetadata('fence_ipmilan', xml)

test('metadata tells the options and the actions, and comments tell nothing', () => {
  assert.deepEqual(metadata.actions, ['on', 'off', 'status'])
  assert.deepEqual(metadata.parameters.slice(0, 4), ['action', 'ip', 'passwd', 'password'])
  assert.ok(!metadata.parameters.includes('hidden') && !metadata.parameters.includes('fake'))
})

test('what is no description of a fence agent is refused', () => {
  assert.throws(() => parseMetadata('fence_x', 'usage: fence_x'), { code: 'host-error' })
  assert.throws(() => parseMetadata('fence_x', '<parameter name="'.repeat(50_000)), { code: 'host-error' })
})

test('an unknown option is refused with those that are known', () => {
  assert.doesNotThrow(() => checkOptions('fence_ipmilan', ['ip', 'username', 'password'], metadata))
  assert.throws(
    () => checkOptions('fence_ipmilan', ['ip', 'adress'], metadata),
    (thrown: Error & { details?: { mend?: string } }) => {
      assert.match(thrown.message, /adress is unknown/)
      assert.equal(thrown.details?.mend, 'It knows: ip, passwd, password, username.')
      return true
    },
  )
})

test('options that run programs, write files or are ours to say are refused', () => {
  for (const name of ['action', 'password_script', 'ipmitool-path', 'debug_file']) {
    assert.throws(() => checkOptions('fence_ipmilan', [name], metadata), /is not for you to set/, name)
  }
})

test('an agent that cannot say whether a host is off is refused', () => {
  assert.throws(
    () => checkOptions('fence_x', [], { parameters: ['ip'], actions: ['off', 'monitor'] }),
    /cannot do status/,
  )
})

test('a value cannot smuggle in another option', () => {
  assert.equal(agentInput('off', { ip: '10.0.0.9', plug: '3' }), 'action=off\nip=10.0.0.9\nplug=3\n')
  assert.throws(() => agentInput('off', { ip: '10.0.0.9\naction=on' }), { code: 'invalid-request' })
})

test('secrets are known by their names', () => {
  for (const name of ['password', 'passwd', 'snmp_priv_passwd', 'snmp-community', 'api_key', 'token', 'key']) {
    assert.ok(isSecretOption(name), name)
  }
  for (const name of ['ip', 'username', 'plug', 'keyboard', 'power_wait']) assert.ok(!isSecretOption(name), name)
})

test('no secret is left in what people see, in whatever form it was printed', () => {
  const secret = `p"ä'ss w0rd`
  const shown = [secret, encodeURIComponent(secret), JSON.stringify(secret), Buffer.from(secret).toString('base64')]
  const words = agentWords(`failed: ${shown.join(' and ')}\n`, [secret])
  for (const form of [secret, 'w0rd', Buffer.from(secret).toString('base64').slice(0, 8)])
    assert.ok(!words.includes(form), words)
  assert.match(words, /^failed: \*\*\*/)
  assert.ok(agentWords('x'.repeat(5000), []).length < 400)
})

test('the exit codes of status', () => {
  assert.deepEqual([0, 2, 1, 127].map(powerOf), ['on', 'off', undefined, undefined])
})
