/**
 * Imports an image: its record first (state `importing`), so that no file is without an owner; then the host copies,
 * converts and checks it; then the record says what it is.
 *
 *   reserve ─▶ import ─▶ ready (commit)        undone, the file goes before the record
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { DatacenterId, DatastoreId, HostId, ImageId } from '../../base/ids.ts'
import { ImageFacts } from '../../contracts/agent-api.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { ImageRecord } from '../store/records.ts'
import type { Change, NewEvent } from '../store/store.ts'
import { endJob, runJob } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { deleteImageFile } from './disk-copies.ts'
import type { Operation } from './operation.ts'
import { saga, type StepContext, type Verdict } from './saga.ts'
import { commitChanges } from './vm-records.ts'

export interface ImportImageParams {
  readonly image: ImageId
  readonly name: string
  readonly datacenter: DatacenterId
  readonly datastore: DatastoreId
  /** The host that reads the source and writes the datastore. */
  readonly host: HostId
  /** `path`: a file on that host; `upload`: the id of a complete upload there. */
  readonly source: { readonly kind: 'path' | 'upload'; readonly path: string }
  readonly expectFormat: 'raw' | 'qcow2' | 'vmdk' | null
  readonly sha256: string | null
}

type Context<Done> = StepContext<ImportImageParams, Done, SagaDeps>

export const importImageSaga = saga<ImportImageParams, SagaDeps>('image.import/1')
  .step({ name: 'reserve', do: async () => null, undo: ({ params, deps }) => forgetImage(deps, params) })
  .step({ name: 'import', weight: 98, patienceMs: 120_000, do: runImport, undo: undoImport })
  .commit({
    name: 'ready',
    do: makeReady,
    settle: async ({ params, deps }): Promise<Verdict<{ image: ImageId }>> => {
      const stored = await deps.store.get('image', params.image)
      if (stored?.value.state === 'ready') return { verdict: 'committed', output: { image: params.image } }
      return { verdict: 'not-committed', code: 'internal', reason: 'the image was not made ready' }
    },
  })
  .result((done) => ({ image: done.ready.image }), importedEvents)

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

/**
 * The operation that imports an image. Its record and the claim on its name are written in the commit that begins the
 * task. Throws `invalid-request` and `name-taken`. An upload's own record is removed when the image is ready.
 */
export async function importImageOperation(
  deps: Pick<SagaDeps, 'store' | 'clock' | 'random'>,
  wish: Omit<ImportImageParams, 'image'>,
): Promise<Operation<ImportImageParams>> {
  const problem = nameProblem(wish.name)
  if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
  const claim = nameClaim('image', wish.datacenter, wish.name)
  if ((await deps.store.get('claim', claim)) !== undefined) {
    throw new HoldfastError('name-taken', `There is an image named ${wish.name} already`)
  }
  const image = (await deps.store.nextId('image')) as ImageId
  const value: ImageRecord = {
    id: image,
    uuid: deps.random.uuid(),
    name: wish.name,
    created: isoTime(deps.clock.now()),
    v: 1,
    datastore: wish.datastore,
    state: 'importing',
    format: wish.expectFormat === 'raw' ? 'raw' : 'qcow2',
    virtualBytes: 0,
    fileBytes: 0,
    sha256: wish.sha256 ?? '0'.repeat(64),
  }
  const changes: Change[] = [
    { do: 'create', kind: 'claim', value: { id: claim, v: 1, owner: image } },
    { do: 'create', kind: 'image', value },
  ]
  const target = { kind: 'image', id: image, name: wish.name }
  return { saga: importImageSaga, params: { ...wish, image }, target, changes }
}

function jobIdOf({ task, params }: Context<unknown>): string {
  return `${task}/${params.image}`
}

async function runImport(context: Context<unknown>): Promise<ImageFacts> {
  const { params, deps, task, signal, progress } = context
  const { image, datastore, source, sha256, expectFormat } = params
  const agent = deps.hosts.agent(params.host)
  const result = await runJob(
    { clock: deps.clock, agent, signal, progress },
    {
      id: jobIdOf(context),
      task,
      work: { kind: 'import-image', image, datastore, source: { ...source }, sha256, expectFormat },
    },
  )
  return result as ImageFacts
}

async function undoImport(context: Context<unknown>): Promise<void> {
  const { params, deps } = context
  await endJob(deps.clock, deps.hosts.agent(params.host), jobIdOf(context))
  await deleteImageFile(deps, params.image, params.datastore)
}

async function makeReady({ params, deps, done }: Context<{ import: ImageFacts }>): Promise<{ image: ImageId }> {
  const { format, virtualBytes, fileBytes, sha256 } = done.import
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('image', params.image)
    if (stored === undefined) throw new HoldfastError('not-found', `The image ${params.image} has no record any more`)
    if (stored.value.state === 'ready') return undefined
    const value: ImageRecord = { ...stored.value, state: 'ready', format, virtualBytes, fileBytes, sha256 }
    const changes: Change[] = [{ do: 'update', kind: 'image', value, expected: stored.revision }]
    const upload = params.source.kind === 'upload' ? await deps.store.get('upload', params.source.path) : undefined
    if (upload !== undefined) {
      changes.push({ do: 'remove', kind: 'upload', id: upload.value.id, expected: upload.revision })
    }
    return changes
  })
  return { image: params.image }
}

/** Removes the image's record and gives its name back; what is gone already is no error. The file is not touched. */
export async function forgetImage(
  deps: Pick<SagaDeps, 'store'>,
  { image, datacenter, name }: Pick<ImportImageParams, 'image' | 'datacenter' | 'name'>,
): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('image', image)
    const claim = await deps.store.get('claim', nameClaim('image', datacenter, name))
    const changes: Change[] = []
    if (stored !== undefined) changes.push({ do: 'remove', kind: 'image', id: image, expected: stored.revision })
    if (claim?.value.owner === image) {
      changes.push({ do: 'remove', kind: 'claim', id: claim.value.id, expected: claim.revision })
    }
    return changes
  })
}
