/**
 * Takes an image in: from a path on a host, or from a complete upload. The image's record (state `importing`) and the
 * claim on its name are committed with the task, so that no file is ever without an owner. Undone, the file goes first.
 *
 *   reserve ─▶ import ─▶ publish (commit) ─▶ tidy
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId, ImageId } from '../../base/ids.ts'
import { ImageFacts, type JobRequest } from '../../contracts/agent-api.ts'
import type { Static } from '../../contracts/schema.ts'
import { nameClaim } from '../domain/names.ts'
import type { ImageRecord } from '../store/records.ts'
import type { Change, NewEvent } from '../store/store.ts'
import { endJob, runJob } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { saga, type StepContext } from './saga.ts'
import { commitChanges } from './vm-records.ts'

export interface ImportImageParams {
  readonly image: ImageId
  readonly name: string
  readonly datastore: DatastoreId
  /** The host that does the work. */
  readonly host: HostId
  readonly source: { readonly kind: 'path' | 'upload'; readonly path: string }
  readonly sha256: string | null
  readonly format: string | null
}

type Facts = Static<typeof ImageFacts>
type Context<Done> = StepContext<ImportImageParams, Done, SagaDeps>

export const importImageSaga = saga<ImportImageParams, SagaDeps>('image.import/1')
  .step({ name: 'reserve', do: async () => null, undo: ({ params, deps }) => forgetImage(deps, params) })
  .step({ name: 'import', weight: 20, do: importFile, undo: removeFile })
  .commit({
    name: 'publish',
    do: ({ params, deps, done }) => publish(deps, params, done.import),
    settle: async ({ params, deps, done }) => ({
      verdict: 'committed',
      output: await publish(deps, params, done.import),
    }),
  })
  .step({ name: 'tidy', do: ({ params, deps }) => forgetUpload(deps, params) })
  .result((done) => ({ ...done.publish }), importedEvents)

function importedEvents(end: {
  params: ImportImageParams
  task: NonNullable<NewEvent['task']>
  state: string
}): NewEvent[] {
  if (end.state !== 'done') return []
  const { image: id, name } = end.params
  const subject = { kind: 'image', id, name }
  return [{ type: 'image.imported', subject, message: `The image ${name} was imported`, task: end.task, data: {} }]
}

function jobId(context: Context<unknown>): string {
  return `${context.task}/${context.params.image}`
}

async function importFile(context: Context<unknown>): Promise<Facts> {
  const { params, deps, task, signal } = context
  const { image, datastore, source, sha256, format, host } = params
  const work = { kind: 'import-image' as const, image, datastore, source, sha256, expectFormat: format }
  const request: JobRequest = { id: jobId(context), task, work }
  const result = await runJob(
    {
      ...{ clock: deps.clock, agent: deps.hosts.agent(host), signal },
      progress: (fraction, detail) => context.progress(fraction, detail),
    },
    request,
  )
  const facts = readFacts(result)
  if (facts !== undefined) return facts
  throw new HoldfastError('host-error', 'the host imported the image but did not say what it is')
}

function readFacts(result: Record<string, unknown>): Facts | undefined {
  const { format, virtualBytes, fileBytes, sha256 } = result
  const isFormat = format === 'raw' || format === 'qcow2'
  if (!isFormat || typeof virtualBytes !== 'number' || typeof fileBytes !== 'number') return undefined
  return typeof sha256 === 'string' ? { format, virtualBytes, fileBytes, sha256 } : undefined
}

async function removeFile(context: Context<unknown>): Promise<void> {
  const { params, deps } = context
  const agent = deps.hosts.agent(params.host)
  await endJob(deps.clock, agent, jobId(context))
  await agent.deleteImage(params.image, params.datastore)
}

async function publish(deps: SagaDeps, params: ImportImageParams, facts: Facts): Promise<{ image: ImageId } & Facts> {
  const { format, virtualBytes, fileBytes, sha256 } = facts
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('image', params.image)
    if (stored === undefined || stored.value.state === 'ready') return undefined
    const value: ImageRecord = { ...stored.value, state: 'ready', format, virtualBytes, fileBytes, sha256 }
    return [{ do: 'update', kind: 'image', value, expected: stored.revision }]
  })
  return { image: params.image, format, virtualBytes, fileBytes, sha256 }
}

/** The agent has made the image of the uploaded file: the upload is no more. */
async function forgetUpload(deps: SagaDeps, { source }: ImportImageParams): Promise<null> {
  if (source.kind !== 'upload') return null
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('upload', source.path)
    if (stored === undefined) return undefined
    return [{ do: 'remove', kind: 'upload', id: source.path, expected: stored.revision }]
  })
  return null
}

/** Removes an image's record and gives its name back; what is gone already is no error. */
export async function forgetImage(
  deps: Pick<SagaDeps, 'store'>,
  { image, name }: Pick<ImportImageParams, 'image' | 'name'>,
): Promise<void> {
  await commitChanges(deps, async () => {
    const changes: Change[] = []
    const stored = await deps.store.get('image', image)
    if (stored !== undefined) changes.push({ do: 'remove', kind: 'image', id: image, expected: stored.revision })
    const claim = await deps.store.get('claim', imageNameClaim(name))
    if (claim?.value.owner === image) {
      changes.push({ do: 'remove', kind: 'claim', id: claim.value.id, expected: claim.revision })
    }
    return changes
  })
}

/** Images have one name space: people name them without saying where they are. */
export function imageNameClaim(name: string): string {
  return nameClaim('image', '', name)
}
