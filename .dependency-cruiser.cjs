/**
 * The direction of imports (docs/architecture.md, "The house"). A folder is a room with a door;
 * a row here says what a room may not reach. No exemption list: mend the import instead.
 */
const never = (name, from, to, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: from },
  to: { path: to },
})

module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    never('base-stands-alone', '^src/base/', '^src/(?!base/)', 'base imports nothing of ours'),
    never('contracts-on-base', '^src/contracts/', '^src/(?!base/|contracts/)', 'schemas know nobody'),
    never(
      'hypervisor-on-base',
      '^src/hypervisor/',
      '^src/(?!base/|hypervisor/)',
      'one QEMU process knows nothing of clusters',
    ),
    never(
      'agent-down',
      '^src/agent/',
      '^src/(?!base/|contracts/|hypervisor/|agent/|sim/)',
      'an agent is one host (its tests may use sim: see below)',
    ),
    never(
      'manager-down',
      '^src/manager/',
      '^src/(?!base/|contracts/|manager/|sim/)',
      'a manager never reaches into agent or hypervisor (its tests may use sim: see below)',
    ),
    never(
      'domain-is-pure',
      '^src/manager/domain/(?!.*\\.test\\.ts$)',
      '^src/(?!base/(?!node/)|contracts/|manager/domain/)|^node:|^(fs|net|http|child_process)$',
      'pure decisions: no I/O, no clock',
    ),
    never('sagas-below-app', '^src/manager/(sagas|reconcilers|store)/', '^src/manager/app/', 'app is above them'),
    never(
      'store-knows-records',
      '^src/manager/store/',
      '^src/manager/(sagas|reconcilers|app)/',
      'the store is at the bottom',
    ),
    never(
      'server-by-the-door',
      '^src/server/(?!.*main\\.ts$|.*\\.test\\.ts$)',
      '^src/manager/(?!app/)',
      'app is the only door of the manager',
    ),
    never(
      'server-no-hosts',
      '^src/server/',
      '^src/(agent|hypervisor|cli|lab|sim)/',
      'the manager side knows no host code',
    ),
    never(
      'cli-is-a-client',
      '^src/cli/',
      '^src/(?!base/|contracts/|cli/|[^/]+/(main|command)\\.ts$)',
      'the CLI is a client of the REST API; it starts a role by its command or its main',
    ),
    never(
      'lab-from-outside',
      '^src/lab/',
      '^src/(?!base/|contracts/|lab/)',
      'the lab drives the same program that real machines run',
    ),
    never(
      'sim-not-in-production',
      '^src/(?!sim/)(?!.*(\\.test|suite)\\.ts$)',
      '^src/sim/',
      'production code never imports sim; shared suites are test code',
    ),
    never(
      'base-ports-only',
      '^src/(?!base/node/|.*/main\\.ts$|.*\\.test\\.ts$)',
      '^src/base/node/',
      'real ports are wired in mains',
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
}
