/** Where an agent is when nothing else is said. */
export const defaultDataDirectory = '/var/lib/holdfast/agent'
export const defaultRunDirectory = '/run/holdfast'
export const defaultAgentPort = 7444
/** What renews this host when the cluster is rolled over (docs/upgrade.md). */
export const defaultUpgradeProgram = '/etc/holdfast/upgrade'
/** So many takeovers of `holdfast ft selftest` in a row prove that a host holds VMs in step. */
export const enoughTakeovers = 1000
