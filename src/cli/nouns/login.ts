/** `holdfast login` */
import type { Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import { absolutePath, personalFolder, type Cli } from '../cli.ts'
import { checkedUrl, loginFile } from '../connection/settings.ts'
import { openSession } from '../connection/open-session.ts'
import type { Session } from '../connection/session.ts'
import { writeDone } from '../output/show.ts'

const loginHelp = `
The token is asked for, or read from standard input where that is no terminal, or from --token-file; it is never given on
the command line, where others could read it. What is saved is readable by you alone. --ca-file is the cluster's own
certificate authority (ca/ca.crt in the manager's data folder); without it the machine's authorities are believed.`

export function define(command: Command, cli: Cli): void {
  command
    .argument('[url]', 'address of the manager, such as https://manager:8443')
    .option('--browser', 'print a link that signs a browser in, once; nothing is saved')
    .addHelpText('after', loginHelp)
    .action((url: string | undefined, options: { browser?: true }) =>
      options.browser === true ? browserLink(cli) : login(cli, url ?? cli.flags.url),
    )
}

async function login(cli: Cli, address: string | undefined): Promise<void> {
  if (address === undefined) {
    throw new HoldfastError('invalid-request', 'no address was given', {
      mend: 'Run `holdfast login https://MANAGER:PORT`.',
    })
  }
  const { files } = await cli.ports()
  const url = checkedUrl(address, 'the command line')
  const { caFile, tokenFile } = cli.flags
  const ca = caFile === undefined ? undefined : await files.readText(absolutePath(cli, caFile))
  const token =
    tokenFile === undefined ? await askToken(cli, url) : (await files.readText(absolutePath(cli, tokenFile))).trim()
  const session = openSession(await cli.ports(), { url, token, ca, source: 'login' })
  const cluster = await session.client.call('getCluster')
  await files.makeDirectory(personalFolder(cli.env, 'config'), { mode: 0o700 })
  const urls = await otherManagers(session, url)
  await files.replace(loginFile(cli.env), `${JSON.stringify({ url, ...urls, token, ca }, null, 2)}\n`, { mode: 0o600 })
  writeDone(cli, { url, cluster: cluster.name }, `Signed in to ${cluster.name} at ${url}`)
}

/** Where the other managers are asked when this one is down; nothing where there are none, or an older manager cannot say. */
async function otherManagers(session: Session, url: string): Promise<{ urls?: string[] }> {
  const managers = await session.list('listManagers').catch(() => [])
  const urls = [...new Set([url, ...managers.flatMap((manager) => manager.urls)])]
  return managers.length > 1 ? { urls } : {}
}

async function askToken(cli: Cli, url: string): Promise<string> {
  const { terminal } = cli
  const token = (await terminal.ask(terminal.isInTty ? `API token for ${url}: ` : '', { isSecret: true }))?.trim()
  if (token === undefined || token === '') throw new HoldfastError('not-signed-in', 'no token was given')
  return token
}

async function browserLink(cli: Cli): Promise<void> {
  const session = await cli.session()
  const { code, expires } = await session.change('createSignInCode', { body: {} })
  const link = `${session.settings.url}/#code=${code}`
  writeDone(cli, { link, expires }, link)
}
