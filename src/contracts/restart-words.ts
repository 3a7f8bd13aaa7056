/** The words and defaults of restart.ts, without its schemas: a command line should not load those to list VMs. */

/** From the last to the first; `disabled` is not started again after the loss of its host. */
export const restartPriorities = ['disabled', 'low', 'medium', 'high', 'critical'] as const
export type RestartPriority = (typeof restartPriorities)[number]
export const defaultRestartPriority: RestartPriority = 'medium'

/** `running`: its vCPUs run. `guest-agent`: the agent in the guest answers. `port`: a TCP port of the guest takes connections. */
export const readyKinds = ['running', 'guest-agent', 'port'] as const
export type ReadyKind = (typeof readyKinds)[number]
/** What happens when the time is over and the VM that is waited for is not ready. */
export const afterTimeout = ['start', 'wait'] as const
export const defaultDependencySeconds = 300

export const defaultRestartSettings = { levelWaitSeconds: 60, startsPerHost: 4 } as const

export const admissionPolicies = ['off', 'hosts', 'percent'] as const
/** Simulating more failures than this at once tells nobody anything. */
export const mostHostFailures = 4

export const ruleKinds = ['together', 'apart', 'on-hosts', 'not-on-hosts'] as const
export const ruleStrengths = ['must', 'should'] as const
