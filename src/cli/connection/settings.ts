/**
 * Where the manager is and who we are there. The first of these that names an address wins, whole: a token never goes to
 * an address that another source named.
 *
 *   1. --url (with --token-file and --ca-file)
 *   2. HOLDFAST_URL (with HOLDFAST_TOKEN and HOLDFAST_CA)
 *   3. what `holdfast login` saved
 *   4. the lab that runs on this machine
 *   5. the manager that was set up on this machine (readable by root alone)
 *
 * A flag given without --url replaces that part of whichever source is used.
 */
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import { absolutePath, personalFolder, type Cli } from '../cli.ts'

export interface Settings {
  readonly url: string
  /** Of all managers, where the source names them: asked in turn. */
  readonly urls?: readonly string[]
  readonly token: string | undefined
  /** PEM of the only authority that is believed. */
  readonly ca: string | undefined
  /** Where it came from, for messages. */
  readonly source: string
}

/** Client files of a lab and of a manager on this machine: `{ "url", "token", "ca" }`. */
export const machineClientFiles = [
  { path: '/var/lib/holdfast/lab/client.json', source: 'the lab on this machine' },
  { path: '/var/lib/holdfast/manager/client.json', source: 'the manager on this machine' },
] as const

/** Where `holdfast login` saves, as people are told. */
export const loginFileName = '~/.config/holdfast/client.json'

export function loginFile(env: Cli['env']): string {
  return `${personalFolder(env, 'config')}/client.json`
}

type Asking = Pick<Cli, 'env' | 'flags' | 'cwd'>

/** The settings to use. Throws `not-signed-in` where no source names a manager. */
export async function findSettings(cli: Asking, files: Files): Promise<Settings> {
  const found =
    (await flagSource(cli, files)) ?? (await environmentSource(cli, files)) ?? (await savedSource(cli, files))
  if (found === undefined) {
    throw new HoldfastError('not-signed-in', 'no manager is known here', {
      mend: 'Run `sudo holdfast lab up` for a lab on this machine, or `holdfast login URL` for a manager elsewhere.',
    })
  }
  const { tokenFile, caFile } = cli.flags
  return {
    ...found,
    url: checkedUrl(found.url, found.source),
    ...(found.urls === undefined ? {} : { urls: found.urls.map((url) => checkedUrl(url, found.source)) }),
    ...(tokenFile === undefined ? {} : { token: await readToken(files, absolutePath(cli, tokenFile)) }),
    ...(caFile === undefined ? {} : { ca: await readNamed(files, absolutePath(cli, caFile), '--ca-file') }),
  }
}

async function flagSource(cli: Asking, files: Files): Promise<Settings | undefined> {
  const { url } = cli.flags
  if (url === undefined) return undefined
  const source = '--url'
  // What belongs to this address elsewhere goes with it. A token alone in the environment is meant for this address.
  const isSame = (other: string | undefined): boolean => other === undefined || other === url
  if (cli.env['HOLDFAST_TOKEN'] !== undefined && isSame(cli.env['HOLDFAST_URL'])) {
    return { url, source, token: cli.env['HOLDFAST_TOKEN'], ca: await environmentCa(cli, files) }
  }
  const saved = await savedSource(cli, files).catch(() => undefined)
  const isSaved = saved !== undefined && checkedUrl(saved.url, saved.source) === checkedUrl(url, source)
  return { url, source, token: isSaved ? saved.token : undefined, ca: isSaved ? saved.ca : undefined }
}

async function environmentSource(cli: Asking, files: Files): Promise<Settings | undefined> {
  const url = cli.env['HOLDFAST_URL']
  if (url === undefined || url === '') return undefined
  return { url, token: cli.env['HOLDFAST_TOKEN'], ca: await environmentCa(cli, files), source: 'HOLDFAST_URL' }
}

/** HOLDFAST_CA holds the certificate itself, or names its file. */
async function environmentCa(cli: Asking, files: Files): Promise<string | undefined> {
  const ca = cli.env['HOLDFAST_CA']
  if (ca === undefined || ca === '') return undefined
  return ca.includes('-----BEGIN') ? ca : await readNamed(files, absolutePath(cli, ca), 'HOLDFAST_CA')
}

async function savedSource(cli: Asking, files: Files): Promise<Settings | undefined> {
  const places = [{ path: loginFile(cli.env), source: '`holdfast login`' }, ...machineClientFiles]
  let closed: string | undefined
  for (const { path, source } of places) {
    const text = await files.readText(path).catch((thrown: unknown) => {
      const code = fileErrorCode(thrown)
      if (code === 'EACCES' || code === 'EPERM') closed ??= path
      else if (code !== 'ENOENT' && code !== 'ENOTDIR') throw thrown
      return undefined
    })
    if (text !== undefined) return { ...parseClientFile(text, path), source }
  }
  if (closed === undefined) return undefined
  throw new HoldfastError('not-signed-in', `${closed} is not readable for you`, {
    mend: 'Run the command with sudo, or sign in as yourself with `holdfast login URL`.',
  })
}

/** Reads a client file. Throws `invalid-request` where it is damaged. */
export function parseClientFile(text: string, path: string): Omit<Settings, 'source'> {
  const damaged = (): HoldfastError =>
    new HoldfastError('invalid-request', `${path} is damaged`, { mend: 'Run `holdfast login URL` again.' })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw damaged()
  }
  if (typeof value !== 'object' || value === null) throw damaged()
  const { url, urls, token, ca } = value as Record<string, unknown>
  if (typeof url !== 'string') throw damaged()
  const all = Array.isArray(urls) ? urls.filter((each) => typeof each === 'string') : []
  return {
    url,
    ...(all.length === 0 ? {} : { urls: [...new Set([url, ...all])] }),
    token: typeof token === 'string' ? token : undefined,
    ca: typeof ca === 'string' ? ca : undefined,
  }
}

/** The address without a path. Throws `invalid-request` for what is no address of a manager. */
export function checkedUrl(text: string, source: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:'
  if (url === undefined || !isWeb || url.username !== '' || url.pathname !== '/' || url.search !== '') {
    throw new HoldfastError('invalid-request', `${text} (from ${source}) is not the address of a manager`, {
      mend: 'Write it as https://NAME:PORT.',
    })
  }
  return url.origin
}

async function readToken(files: Files, path: string): Promise<string> {
  const token = (await readNamed(files, path, '--token-file')).trim()
  if (token !== '' && !/\s/.test(token)) return token
  throw new HoldfastError('invalid-request', `${path} does not hold one token`)
}

async function readNamed(files: Files, path: string, option: string): Promise<string> {
  try {
    return await files.readText(path)
  } catch (cause) {
    throw new HoldfastError('invalid-request', `${path} (from ${option}) cannot be read`, {}, { cause })
  }
}
