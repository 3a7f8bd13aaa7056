import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { NetworkId, VmId } from '../../base/ids.ts'
import type { NetworkConfig } from '../../contracts/agent-api.ts'
import { floodCommands, networkCommands } from './bridge-commands.ts'
import { dnsmasqArgs, hostsFile } from './dnsmasq.ts'
import { bridgeMac, hostLabel, parseCidr, tapName } from './names.ts'
import { nftRules } from './nft-rules.ts'

const network: NetworkConfig = {
  network: 'net-7' as NetworkId,
  name: 'default',
  kind: 'vxlan',
  tag: 77,
  uplink: null,
  mtu: 1450,
  peers: ['10.0.0.2'],
  macSpoofing: 'dropped',
  ipSpoofing: 'dropped',
  ipv4: { cidr: '10.7.0.0/22', gateway: '10.7.0.1', dns: [], service: '10.7.0.2' },
}
const tap = { tap: 'hft42-1', mac: '52:54:00:00:00:01', address: '10.7.0.42', network }

describe('names of interfaces', () => {
  test('fit into 15 characters and stay apart, however large the numbers', () => {
    assert.equal(tapName('vm-42' as VmId, 3), 'hft42-3')
    const long = [1, 2].map((key) => tapName('vm-123456789012' as VmId, key))
    assert.ok(long.every((name) => name.length === 15))
    assert.notEqual(long[0], long[1])
  })

  test('a bridge has one MAC on all hosts, its own per network', () => {
    assert.equal(bridgeMac('net-7' as NetworkId), '02:48:46:00:00:07')
    assert.equal(bridgeMac('net-65537' as NetworkId), '02:48:46:01:00:01')
  })

  test('any name of a VM becomes a label that DHCP can hand out', () => {
    assert.equal(hostLabel('My VM_1.test'), 'my-vm-1-test')
    assert.equal(hostLabel('_'), 'vm')
  })

  test('a network is known by any address of it', () => {
    assert.deepEqual(parseCidr('10.7.3.9/22'), { network: '10.7.0.0', length: 22, mask: '255.255.252.0' })
  })
})

describe('rules', () => {
  test('a guest speaks as itself alone where Holdfast assigns the address', () => {
    const rules = nftRules([network], [tap])
    for (const rule of ['ether saddr != 52:54:00:00:00:01 drop', 'ip saddr != 10.7.0.42 drop', 'udp sport 67 drop']) {
      assert.ok(rules.includes(rule), rule)
    }
    assert.ok(rules.indexOf('ether type 0x8035 accept') > rules.indexOf('ether saddr !='), 'RARP only by its own MAC')
  })

  test('a guest may answer the host that asks it, and opens no connection to it', () => {
    const rules = nftRules([network], [tap])
    const toHost = rules.slice(rules.indexOf('chain to-host'))
    assert.match(toHost, /tcp flags & \(fin \| syn \| rst \| ack\) != syn accept\n\s+drop/)
  })

  test('a policy that allows it lets other addresses pass, but no DHCP server', () => {
    const open = { ...network, macSpoofing: 'allowed' as const, ipSpoofing: 'allowed' as const }
    const rules = nftRules([open], [{ ...tap, network: open }])
    assert.doesNotMatch(rules, /saddr != /)
    assert.match(rules, /udp sport 67 drop/)
  })

  test('the service address stays on its host; where there is none, DHCP of others passes', () => {
    assert.match(nftRules([network], []), /arp daddr ip 10\.7\.0\.2 drop/)
    assert.doesNotMatch(nftRules([{ ...network, ipv4: null }], []), /dport \{ 67, 68 \} drop/)
  })
})

describe('commands', () => {
  test('a VXLAN device of another tag is replaced, one that is right is kept', () => {
    const link = (id: number): Parameters<typeof networkCommands>[1][number] => ({
      ...{ ifname: 'hfvx7', mtu: 1450, flags: [] },
      linkinfo: { info_kind: 'vxlan', info_data: { id, local: '10.0.0.1' } },
    })
    assert.ok(networkCommands(network, [link(5)], '10.0.0.1').includes('link del hfvx7'))
    assert.ok(!networkCommands(network, [link(77)], '10.0.0.1').some((line) => line.includes('hfvx7 type vxlan')))
  })

  test('the flood list gains and loses single peers', () => {
    const lines = floodCommands({ ...network, peers: ['10.0.0.2', '10.0.0.3'] }, ['10.0.0.2', '10.0.0.9'])
    assert.deepEqual(lines, [
      'fdb append 00:00:00:00:00:00 dev hfvx7 dst 10.0.0.3',
      'fdb del 00:00:00:00:00:00 dev hfvx7 dst 10.0.0.9',
    ])
  })

  test('dnsmasq names neither itself as router nor as name server', () => {
    const args = dnsmasqArgs(network, { ...network.ipv4!, gateway: null }, '/run/x')
    assert.ok(args.includes('--dhcp-option=option:router') && args.includes('--dhcp-option=option:dns-server'))
    assert.ok(args.includes('--dhcp-range=10.7.0.0,static,255.255.252.0,12h'))
    const own = { vm: 'vm-42' as VmId, network: network.network, mac: tap.mac, address: tap.address, hostname: 'A B' }
    assert.equal(hostsFile([own]), '52:54:00:00:00:01,10.7.0.42,a-b,12h\n')
  })
})
