/** Where an agent is when nothing else is said. */
export const defaultDataDirectory = '/var/lib/holdfast/agent'
export const defaultRunDirectory = '/run/holdfast'
export const defaultAgentPort = 7444
